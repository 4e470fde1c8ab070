package main

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"strings"
	"time"

	"fault-tolerant-tracing/services/internal/service"
	"fault-tolerant-tracing/tracing/kafkaclient"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"
	"github.com/xdg-go/scram"
)

const (
	linger         = 5 * time.Millisecond   // a message waits so long for others; goka's default is 100 ms
	commitInterval = 200 * time.Millisecond // so much may be repeated after a crash
	maxMessage     = 1 << 20                // bytes; brokers take a little more by default

	// dialTimeout is for a connection with its TLS; a broker that is there answers
	// within a second. sarama tries four times to find the group's coordinator.
	dialTimeout = 5 * time.Second

	// answerMargin is what an answer may take beyond the session timeout, which is
	// how long others may be waited for when the group is joined: a member that has
	// died is only then known to be gone. It is also how long a connection that was
	// dropped in silence is waited for; sarama's own is 30 s.
	answerMargin = 5 * time.Second
)

// saramaConfig returns the configuration of goka's client: what goka needs, what
// the promise of no loss needs beyond that, and how to reach and trust the
// cluster. It reads the TLS files and the file of the password.
func saramaConfig(cluster kafkaclient.Cluster, member service.Group) (*sarama.Config, error) {
	c := goka.DefaultConfig()
	// Kafka 4 speaks no version before 2.1; static membership needs 2.3.
	c.Version = sarama.V2_8_0_0
	c.Metadata.AllowAutoTopicCreation = false
	// sarama's group compares the partitions it knows of, which are those of the
	// last refresh, as often; a change is seen after twice this time.
	c.Metadata.RefreshFrequency = cmp.Or(cluster.RefreshInterval, kafkaclient.DefaultRefreshInterval)
	c.Net.DialTimeout = dialTimeout
	c.Net.ReadTimeout = member.SessionTimeout + answerMargin
	c.Net.WriteTimeout = c.Net.ReadTimeout
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	// goka would only log these errors, and sarama closes the channel for them while
	// it may still send on it when a broker goes away: that is a panic.
	c.Consumer.Return.Errors = false
	c.Consumer.Offsets.AutoCommit.Interval = commitInterval
	c.Consumer.Group.InstanceId = member.InstanceID
	c.Consumer.Group.Session.Timeout = member.SessionTimeout
	c.Consumer.Group.Heartbeat.Interval = member.SessionTimeout / 4
	c.Consumer.Group.Rebalance.Timeout = member.SessionTimeout
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Flush.Frequency = linger
	c.Producer.MaxMessageBytes = maxMessage
	if err := secure(c, cluster.Security); err != nil {
		return nil, err
	}
	return c, c.Validate()
}

func secure(c *sarama.Config, s kafkaclient.Security) (err error) {
	if strings.HasPrefix(s.Protocol, "SASL_") {
		c.Net.SASL.Enable = true
		c.Net.SASL.Handshake = true
		c.Net.SASL.Mechanism = sarama.SASLMechanism(s.SASLMechanism)
		c.Net.SASL.User = s.SASLUsername
		c.Net.SASL.Password = s.Password()
		switch s.SASLMechanism {
		case sarama.SASLTypeSCRAMSHA256:
			c.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &scramClient{hash: scram.SHA256} }
		case sarama.SASLTypeSCRAMSHA512:
			c.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &scramClient{hash: scram.SHA512} }
		}
	}
	if strings.HasSuffix(s.Protocol, "SSL") {
		c.Net.TLS.Enable = true
		c.Net.TLS.Config, err = tlsConfig(s)
	}
	return err
}

func tlsConfig(s kafkaclient.Security) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.TLSCAFile != "" {
		var err error
		if c.RootCAs, err = service.ReadAuthorities(s.TLSCAFile); err != nil {
			return nil, fmt.Errorf("kafka TLS authorities: %w", err)
		}
	}
	if s.TLSCertFile != "" {
		pair, err := tls.LoadX509KeyPair(s.TLSCertFile, s.TLSKeyFile)
		if err != nil {
			return nil, fmt.Errorf("kafka TLS certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// scramClient is one SCRAM conversation, as sarama wants it.
type scramClient struct {
	*scram.ClientConversation
	hash scram.HashGeneratorFcn
}

func (s *scramClient) Begin(user, password, authzID string) error {
	client, err := s.hash.NewClient(user, password, authzID)
	if err != nil {
		return err
	}
	s.ClientConversation = client.NewConversation()
	return nil
}
