package consume

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/tracingtest"
)

// soon takes the place of kafkaclient.DefaultRefreshInterval.
const soon = 200 * time.Millisecond

// newAdmin makes a client for a broker that lets not everybody in.
func newAdmin(t *testing.T, broker *tracingtest.Broker, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append(opts, kgo.SeedBrokers(broker.Addr()), kgo.DefaultProduceTopic(testTopic),
		kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))...)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

func TestNewPartitionsAreRead(t *testing.T) {
	t.Parallel()
	broker, client := startTopic(t)
	s := newSeen()
	m := startMember(t, broker, func(c *Config) {
		c.Dispatch.Handle = each(s.handle)
		c.Cluster.RefreshInterval = soon
	})
	produce(t, client, 0, 30)
	eventually(t, "all handled", func() bool { return s.distinct() == 30 })

	answers, err := kadm.NewClient(client).UpdatePartitions(t.Context(), 2*partitions, testTopic)
	require.NoError(t, err)
	require.NoError(t, answers.Error())
	produce(t, newAdmin(t, broker), 30, 90)
	eventually(t, "what is in the new ones is handled", func() bool { return s.distinct() == 90 })
	eventually(t, "and committed", func() bool { return committed(t, client) == 90 })
	assert.Len(t, m.Status().Partitions, 2*partitions)
}

func TestARenewedCertificateIsTakenIntoUse(t *testing.T) {
	t.Parallel()
	addr, dir := tracingtest.FreeAddr(t), t.TempDir()
	start := func(a *tracingtest.Authority) *tracingtest.Broker {
		broker, err := tracingtest.NewBroker(addr, dir, kfake.SeedTopics(partitions, testTopic), kfake.TLS(a.ServerTLS(t)))
		require.NoError(t, err)
		t.Cleanup(broker.Stop)
		return broker
	}
	one, another := tracingtest.NewAuthority(t), tracingtest.NewAuthority(t)
	broker := start(one)
	files := one.NewPEMFiles(t, time.Now().Add(time.Hour))
	s := newSeen()
	m := startMember(t, broker, func(c *Config) {
		c.Dispatch.Handle = each(s.handle)
		c.Cluster.RefreshInterval = soon
		c.Cluster.Security = kafkaclient.Security{Protocol: "SSL", TLSCAFile: files.CA, TLSCertFile: files.Cert, TLSKeyFile: files.Key}
	})
	produce(t, newAdmin(t, broker, kgo.DialTLSConfig(one.ClientTLS(t))), 0, 30)
	eventually(t, "all handled", func() bool { return s.distinct() == 30 })

	broker.Stop() // its certificates have run out, and those of its clients
	broker = start(another)
	eventually(t, "it tells that it is not let in", func() bool { return len(m.Status().Errors) > 0 })
	another.Renew(t, files, time.Now().Add(time.Hour))
	another.WriteCA(t, files)
	admin := newAdmin(t, broker, kgo.DialTLSConfig(another.ClientTLS(t)))
	produce(t, admin, 30, 60)
	eventually(t, "all handled", func() bool { return s.distinct() == 60 })
	eventually(t, "and committed", func() bool { return committed(t, admin) == 60 })
	eventually(t, "that is over", func() bool { return m.Ready() == nil && len(m.Status().Errors) == 0 })
}

func TestAChangedPasswordIsTakenIntoUse(t *testing.T) {
	t.Parallel()
	broker := tracingtest.StartBroker(t, kfake.SeedTopics(partitions, testTopic), kfake.EnableSASL(),
		kfake.Superuser("SCRAM-SHA-256", "relay", "old"), kfake.Superuser("SCRAM-SHA-256", "admin", "admin"))
	admin := newAdmin(t, broker, kgo.SASL(scram.Auth{User: "admin", Pass: "admin"}.AsSha256Mechanism()))
	file := filepath.Join(t.TempDir(), "password")
	tracingtest.WriteFile(t, file, []byte("old"))
	s := newSeen()
	m := startMember(t, broker, func(c *Config) {
		c.Dispatch.Handle = each(s.handle)
		c.Cluster.RefreshInterval = soon
		c.Cluster.Security = kafkaclient.Security{
			Protocol: "SASL_PLAINTEXT", SASLMechanism: "SCRAM-SHA-256", SASLUsername: "relay", SASLPassword: "old", SASLPasswordFile: file,
		}
	})
	produce(t, admin, 0, 30)
	eventually(t, "all handled", func() bool { return s.distinct() == 30 })

	_, err := kadm.NewClient(admin).AlterUserSCRAMs(t.Context(), nil,
		[]kadm.UpsertSCRAM{{User: "relay", Mechanism: kadm.ScramSha256, Iterations: 4096, Password: "new"}})
	require.NoError(t, err)
	broker.Stop()
	require.NoError(t, broker.Start())
	eventually(t, "it tells that it is not let in", func() bool { return len(m.Status().Errors) > 0 })
	tracingtest.WriteFile(t, file, []byte("new"))
	produce(t, admin, 30, 60)
	eventually(t, "all handled", func() bool { return s.distinct() == 60 })
	eventually(t, "and committed", func() bool { return committed(t, admin) == 60 })
	eventually(t, "that is over", func() bool { return m.Ready() == nil && len(m.Status().Errors) == 0 })
}
