// Package kafkaclient holds what every confluent-kafka-go client of this
// repository needs: how to reach and trust a cluster, librdkafka's log lines in
// slog, and a Producer that outlives what a bare kafka.Producer does not.
//
// It does not wrap consumers: take Cluster.ConfigMap, add the consumer's own
// settings, and hand its Logs channel to ForwardLogs.
package kafkaclient

import (
	"errors"
	"fmt"
	"strings"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// Security says how a client proves who it is and whom it trusts. The zero value
// is an unencrypted connection without authentication.
type Security struct {
	Protocol      string // PLAINTEXT (default), SSL, SASL_PLAINTEXT or SASL_SSL
	SASLMechanism string // PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; with a SASL_ protocol only
	SASLUsername  string
	SASLPassword  string
	TLSCAFile     string // PEM; default: the system's certificate authorities
	TLSCertFile   string // PEM; the client's own certificate, together with TLSKeyFile
	TLSKeyFile    string // PEM
}

// Cluster names a Kafka cluster and the client that talks to it.
type Cluster struct {
	Brokers  []string // host:port, at least one
	Security Security
	ClientID string // shown in the broker's logs and quotas; default: librdkafka's "rdkafka"
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
	} else if s.SASLMechanism != "" || s.SASLUsername != "" || s.SASLPassword != "" {
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
	if s.SASLUsername == "" || s.SASLPassword == "" {
		errs = append(errs, errors.New("kafka SASL: user name and password are both needed"))
	}
	return errs
}

func (s Security) protocol() string {
	if s.Protocol == "" {
		return "PLAINTEXT"
	}
	return s.Protocol
}

// ConfigMap returns a fresh librdkafka configuration for this cluster, for the
// caller to add to. Clients made from it never create topics by asking for them,
// reconnect within about a second of a broker's return, and deliver their log
// lines to the client's Logs channel, which must be drained: see ForwardLogs.
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
	}
	for key, value := range map[string]string{
		"client.id":                c.ClientID,
		"sasl.mechanisms":          c.Security.SASLMechanism,
		"sasl.username":            c.Security.SASLUsername,
		"sasl.password":            c.Security.SASLPassword,
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
