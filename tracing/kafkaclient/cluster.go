// Package kafkaclient holds what every confluent-kafka-go client of this
// repository needs: how to reach and trust a cluster, librdkafka's log lines in
// slog, and a Producer that outlives what a bare kafka.Producer does not.
//
// It does not wrap consumers: take Cluster.ConfigMap, add the consumer's own
// settings, and hand its Logs channel to ForwardLogs.
package kafkaclient

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// Security says how a client proves who it is and whom it trusts. The zero value
// is an unencrypted connection without authentication.
type Security struct {
	Protocol      string // PLAINTEXT (default), SSL, SASL_PLAINTEXT or SASL_SSL
	SASLMechanism string // PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; with a SASL_ protocol only
	SASLUsername  string
	SASLPassword  string
	// SASLPasswordFile is where SASLPassword comes from, if it comes from a file:
	// that is read again for each new client, and when it changes. See Credentials.
	SASLPasswordFile string
	TLSCAFile        string // PEM; default: the system's certificate authorities
	TLSCertFile      string // PEM; the client's own certificate, together with TLSKeyFile
	TLSKeyFile       string // PEM
}

// Cluster names a Kafka cluster and the client that talks to it.
type Cluster struct {
	Brokers  []string // host:port, at least one
	Security Security
	ClientID string // shown in the broker's logs and quotas; default: librdkafka's "rdkafka"

	// RefreshInterval is how often a client looks for new partitions, and for
	// changes in the files of Security; default DefaultRefreshInterval.
	RefreshInterval time.Duration
}

// DefaultRefreshInterval is as long as it may be for everything to be noticed
// within a minute: goka needs two looks to see a new partition. librdkafka's own is 5 minutes, sarama's 10. A look is one small request.
const DefaultRefreshInterval = 15 * time.Second

func (c Cluster) refreshInterval() time.Duration {
	return cmp.Or(c.RefreshInterval, DefaultRefreshInterval)
}

// Validate reports every setting that cannot be right, joined into one error. It
// opens no file and no connection.
func (c Cluster) Validate() error {
	var errs []error
	if len(c.Brokers) == 0 {
		errs = append(errs, errors.New("kafka brokers: none given"))
	}
	for _, b := range c.Brokers {
		if strings.TrimSpace(b) == "" {
			errs = append(errs, errors.New("kafka brokers: an empty address"))
		}
	}
	return errors.Join(append(errs, c.Security.validate()...)...)
}

func (s Security) validate() []error {
	var errs []error
	sasl, tls := false, false
	switch s.protocol() {
	case "PLAINTEXT":
	case "SSL":
		tls = true
	case "SASL_PLAINTEXT":
		sasl = true
	case "SASL_SSL":
		sasl, tls = true, true
	default:
		return []error{fmt.Errorf("kafka security protocol %q: want PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL", s.Protocol)}
	}
	if sasl {
		errs = append(errs, s.validateSASL()...)
	} else if s.SASLMechanism != "" || s.SASLUsername != "" || s.SASLPassword != "" || s.SASLPasswordFile != "" {
		errs = append(errs, fmt.Errorf("kafka SASL settings need a SASL_ security protocol, not %s", s.protocol()))
	}
	if !tls && (s.TLSCAFile != "" || s.TLSCertFile != "" || s.TLSKeyFile != "") {
		errs = append(errs, fmt.Errorf("kafka TLS settings need the security protocol SSL or SASL_SSL, not %s", s.protocol()))
	}
	if (s.TLSCertFile == "") != (s.TLSKeyFile == "") {
		errs = append(errs, errors.New("kafka TLS certificate and key: give both or neither"))
	}
	return errs
}

func (s Security) validateSASL() []error {
	var errs []error
	switch s.SASLMechanism {
	case "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512":
	default:
		errs = append(errs, fmt.Errorf("kafka SASL mechanism %q: want PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", s.SASLMechanism))
	}
	if s.SASLUsername == "" || s.SASLPassword == "" && s.SASLPasswordFile == "" {
		errs = append(errs, errors.New("kafka SASL: user name and password are both needed"))
	}
	return errs
}

// Password returns the one in SASLPasswordFile at present, or SASLPassword.
func (s Security) Password() string {
	if f, err := (Security{SASLPasswordFile: s.SASLPasswordFile}).read(); err == nil && f.password != "" {
		return f.password
	}
	return s.SASLPassword
}

func (s Security) protocol() string {
	if s.Protocol == "" {
		return "PLAINTEXT"
	}
	return s.Protocol
}

// RequestTimeout is how long a client waits for an answer, or for a connection
// with its TLS and SASL, before it takes the connection for dead and makes another:
// one that a firewall or a lost machine has dropped says nothing. librdkafka's own
// is 60 s. It must leave time for the longest honest answer. Requests that wait at
// the broker by design add their own wait to it (fetch) or have one of their own
// (joining a group, creating topics). A broker that waits for a dead replica may
// hold a produce request for up to 30 s; that is sent again with its sequence
// number, and stored once.
const RequestTimeout = 10 * time.Second

// ConfigMap returns a fresh librdkafka configuration for this cluster, for the
// caller to add to. Clients made from it never create topics by asking for them,
// see new partitions after RefreshInterval, reconnect within about a second of a
// broker's return and within RequestTimeout of a connection's silent end, ask
// Brokers anew when no broker that they know has answered for RefreshInterval and
// RequestTimeout (KIP-1102), and deliver their log lines to the client's Logs
// channel, which must be drained: see ForwardLogs.
func (c Cluster) ConfigMap() kafka.ConfigMap {
	m := kafka.ConfigMap{
		"bootstrap.servers":        strings.Join(c.Brokers, ","),
		"security.protocol":        c.Security.protocol(),
		"allow.auto.create.topics": false,
		"reconnect.backoff.ms":     100,
		"reconnect.backoff.max.ms": 1000,
		"log.connection.close":     false, // brokers close idle connections: no news
		"enable.metrics.push":      false, // the broker need not know this client's metrics
		"socket.nagle.disable":     true,  // else a small request may wait for the acknowledgement of the one before
		"go.logs.channel.enable":   true,

		// Metadata counts as too old after three times this interval.
		"topic.metadata.refresh.interval.ms": int(c.refreshInterval().Milliseconds()),
		// librdkafka's own is 5 minutes, and without it brokers that told a wrong address may never be found again.
		"metadata.recovery.rebootstrap.trigger.ms": int((c.refreshInterval() + RequestTimeout).Milliseconds()),

		"socket.timeout.ms":                  int(RequestTimeout.Milliseconds()),
		"socket.connection.setup.timeout.ms": int(RequestTimeout.Milliseconds()),
		// For connections on which nothing is asked: the system's own time, often hours.
		"socket.keepalive.enable": true,
	}
	for key, value := range map[string]string{
		"client.id":                c.ClientID,
		"sasl.mechanisms":          c.Security.SASLMechanism,
		"sasl.username":            c.Security.SASLUsername,
		"sasl.password":            c.Security.Password(),
		"ssl.ca.location":          c.Security.TLSCAFile,
		"ssl.certificate.location": c.Security.TLSCertFile,
		"ssl.key.location":         c.Security.TLSKeyFile,
	} {
		if value != "" {
			m[key] = value
		}
	}
	return m
}

// joinTimeouts is after how many session timeouts a join without an answer is tried
// again, and how long the group waits for its other members. librdkafka's own is 5 minutes.
const joinTimeouts = 6

// MemberConfigMap is ConfigMap for a member of a consumer group, which counts as dead
// when it has been silent for session, and has to poll within six times that. instance
// is its name as a static member; empty: it is none.
func (c Cluster) MemberConfigMap(group, instance string, session time.Duration) kafka.ConfigMap {
	m := c.ConfigMap()
	m["group.id"] = group
	m["session.timeout.ms"] = int(session.Milliseconds())
	m["heartbeat.interval.ms"] = int(session.Milliseconds() / 4)
	m["max.poll.interval.ms"] = int(joinTimeouts * session.Milliseconds())
	if instance != "" {
		m["group.instance.id"] = instance
	}
	return m
}
