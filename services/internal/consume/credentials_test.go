package consume

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/tracingtest"
)

// librdkafka reads a certificate only once.
func TestAMemberJoinsAnewWithAnotherCertificate(t *testing.T) {
	t.Parallel()
	authority := tracingtest.NewAuthority(t)
	files := authority.NewPEMFiles(t, time.Now().Add(time.Hour))
	broker := tracingtest.StartBroker(t, kfake.SeedTopics(partitions, testTopic), kfake.TLS(authority.ServerTLS(t)))
	admin, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()), kgo.DefaultProduceTopic(testTopic), kgo.DialTLSConfig(authority.ClientTLS(t)))
	require.NoError(t, err)
	t.Cleanup(admin.Close)
	s := newSeen()
	m := startMember(t, broker, func(c *Config) {
		c.Dispatch.Handle = each(s.handle)
		c.Cluster.RefreshInterval = 50 * time.Millisecond
		c.Cluster.Security = kafkaclient.Security{Protocol: "SSL", TLSCAFile: files.CA, TLSCertFile: files.Cert, TLSKeyFile: files.Key}
	})
	produce(t, admin, 0, 30)
	eventually(t, "all handled", func() bool { return s.distinct() == 30 })
	before := m.kafka.Load()
	authority.Renew(t, files, time.Now().Add(time.Hour))
	eventually(t, "another client takes its place", func() bool { return m.kafka.Load() != before })
	produce(t, admin, 30, 60)
	eventually(t, "all handled", func() bool { return s.distinct() == 60 })
	eventually(t, "and committed", func() bool { return committed(t, admin) == 60 })
}
