package kafkaclient

import (
	"crypto/tls"
	"encoding/pem"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
)

func TestValidate(t *testing.T) {
	tests := []struct {
		name    string
		cluster Cluster
		want    []string // parts of the error; none: valid
	}{
		{"plain", Cluster{Brokers: []string{"a:9092", "b:9092"}}, nil},
		{"plain, named", Cluster{Brokers: []string{"a:9092"}, Security: Security{Protocol: "PLAINTEXT"}}, nil},
		{"TLS by the system's authorities", Cluster{Brokers: []string{"a:9092"}, Security: Security{Protocol: "SSL"}}, nil},
		{"SASL over TLS", Cluster{Brokers: []string{"a:9092"}, Security: Security{Protocol: "SASL_SSL", SASLMechanism: "PLAIN", SASLUsername: "u", SASLPassword: "p", TLSCAFile: "ca.pem"}}, nil},
		{"all at once", Cluster{Brokers: []string{" "}, Security: Security{Protocol: "SASL_PLAINTEXT", SASLMechanism: "MAGIC", TLSCertFile: "c.pem"}},
			[]string{"an empty address", `mechanism "MAGIC"`, "user name and password", "TLS settings need", "both or neither"}},
		{"no brokers, unknown protocol", Cluster{Security: Security{Protocol: "HTTP"}}, []string{"none given", `protocol "HTTP"`}},
		{"SASL settings without SASL", Cluster{Brokers: []string{"a:9092"}, Security: Security{SASLUsername: "u"}}, []string{"SASL settings need"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.cluster.Validate()
			if tt.want == nil {
				assert.NoError(t, err)
			}
			for _, part := range tt.want {
				assert.ErrorContains(t, err, part)
			}
		})
	}
}

func TestNewProducerRefusesABadCluster(t *testing.T) {
	_, err := NewProducer(Cluster{}, slog.New(slog.DiscardHandler), nil)
	assert.ErrorContains(t, err, "none given")
	_, err = NewProducer(Cluster{Brokers: []string{"a:9092"}}, slog.New(slog.DiscardHandler), kafka.ConfigMap{"no.such.setting": 1})
	assert.ErrorContains(t, err, "no.such.setting")
}

func TestConfigMapIsFresh(t *testing.T) {
	c := Cluster{Brokers: []string{"a:9092", "b:9092"}, ClientID: "relay"}
	c.ConfigMap()["group.id"] = "g"
	m := c.ConfigMap()
	assert.NotContains(t, m, "group.id")
	assert.Equal(t, "a:9092,b:9092", m["bootstrap.servers"])
	assert.Equal(t, "relay", m["client.id"])
	assert.Equal(t, false, m["allow.auto.create.topics"])
}

func TestSASLOverTLS(t *testing.T) {
	server := httptest.NewTLSServer(nil) // for its certificate
	t.Cleanup(server.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	broker := newBroker(t, kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "tracer", "secret"),
		kfake.TLS(&tls.Config{Certificates: server.TLS.Certificates}))

	p, err := NewProducer(Cluster{Brokers: []string{broker}, Security: Security{
		Protocol: "SASL_SSL", SASLMechanism: "SCRAM-SHA-512", SASLUsername: "tracer", SASLPassword: "secret", TLSCAFile: ca,
	}}, slog.New(slog.DiscardHandler), nil)
	require.NoError(t, err)
	_, err = p.Send(within(t, 20*time.Second), message("1"))
	assert.NoError(t, err)
	assert.NoError(t, p.Close(within(t, 20*time.Second)))
}

func TestLogLevels(t *testing.T) {
	for severity, want := range []slog.Level{
		slog.LevelError, slog.LevelError, slog.LevelError, // emergency, alert, critical
		slog.LevelWarn, slog.LevelWarn, // error, warning
		slog.LevelInfo, slog.LevelInfo, slog.LevelDebug, // notice, info, debug
	} {
		assert.Equal(t, want, level(severity), "severity %d", severity)
	}
}
