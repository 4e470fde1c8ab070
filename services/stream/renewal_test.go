package main

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// soon takes the place of kafkaclient.DefaultRefreshInterval. A closed sarama client
// ends only when it does not want to refresh just then.
const soon = time.Second

// startWith starts a stream on a broker that lets not everybody in.
func startWith(t *testing.T, b *tracingtest.Broker, s kafkaclient.Security) running {
	t.Helper()
	tracer, _ := tracingtest.NewTracer(t, group)
	return startStreamOn(t, tracer, testConfig(b.Addr()), kafkaclient.Cluster{Brokers: []string{b.Addr()}, Security: s, RefreshInterval: soon})
}

// seeded are the topics of a broker to which the helpers of other tests get no
// connection.
func seeded() kfake.Opt { return kfake.SeedTopics(3, testConfig("").topics()...) }

// sorts checks that the stream sorts an even number. opts say how to reach the
// broker.
func (r running) sorts(t *testing.T, b *tracingtest.Broker, number int, opts ...kgo.Opt) {
	t.Helper()
	client, err := kgo.NewClient(append(opts, kgo.SeedBrokers(b.Addr()), kgo.ConsumeTopics("even-topic"))...)
	require.NoError(t, err)
	defer client.Close()
	value := strconv.Itoa(number)
	require.NoError(t, client.ProduceSync(t.Context(), &kgo.Record{Topic: "number-topic", Value: []byte(value)}).FirstErr())
	for found := false; !found; {
		fetches := client.PollFetches(t.Context())
		require.NoError(t, fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) { found = found || string(r.Value) == value })
	}
}

func (r running) waitLog(t *testing.T, text string) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(r.log.String(), text) }, patience, 10*time.Millisecond, text)
}

func TestItTakesRenewedTLSFilesIntoUse(t *testing.T) {
	t.Parallel()
	old, addr, dir := tracingtest.NewAuthority(t), tracingtest.FreeAddr(t), t.TempDir()
	start := func(a *tracingtest.Authority) *tracingtest.Broker {
		b, err := tracingtest.NewBroker(addr, dir, seeded(), kfake.TLS(a.ServerTLS(t)))
		require.NoError(t, err)
		t.Cleanup(b.Stop)
		return b
	}
	b := start(old)
	files := old.NewPEMFiles(t, time.Now().Add(time.Hour))
	s := startWith(t, b, kafkaclient.Security{Protocol: "SSL", TLSCAFile: files.CA, TLSCertFile: files.Cert, TLSKeyFile: files.Key})
	s.sorts(t, b, 2, kgo.DialTLSConfig(old.ClientTLS(t)))
	s.waitReady(t)

	old.Renew(t, files, time.Now().Add(time.Hour)) // with the broker there
	s.waitLog(t, errChanged.Error())
	s.sorts(t, b, 4, kgo.DialTLSConfig(old.ClientTLS(t)))
	s.waitReady(t)

	b.Stop()
	another := tracingtest.NewAuthority(t)
	b = start(another)
	require.Eventually(t, func() bool { return s.ready() != nil }, patience, 10*time.Millisecond, "ready, though it is not let in")
	another.Renew(t, files, time.Now().Add(time.Hour))
	another.WriteCA(t, files)
	s.sorts(t, b, 6, kgo.DialTLSConfig(another.ClientTLS(t)))
	s.waitReady(t)
}

func TestItTakesAChangedPasswordIntoUse(t *testing.T) {
	t.Parallel()
	b := tracingtest.StartBroker(t, seeded(), kfake.EnableSASL(),
		kfake.Superuser("SCRAM-SHA-256", "stream", "old"), kfake.Superuser("SCRAM-SHA-256", "admin", "admin"))
	admin := kgo.SASL(scram.Auth{User: "admin", Pass: "admin"}.AsSha256Mechanism())
	file := filepath.Join(t.TempDir(), "password")
	tracingtest.WriteFile(t, file, []byte("old"))
	s := startWith(t, b, kafkaclient.Security{
		Protocol: "SASL_PLAINTEXT", SASLMechanism: "SCRAM-SHA-256", SASLUsername: "stream", SASLPassword: "old", SASLPasswordFile: file,
	})
	s.sorts(t, b, 2, admin)
	s.waitReady(t)

	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()), admin)
	require.NoError(t, err)
	defer client.Close()
	_, err = kadm.NewClient(client).AlterUserSCRAMs(t.Context(), nil,
		[]kadm.UpsertSCRAM{{User: "stream", Mechanism: kadm.ScramSha256, Iterations: 4096, Password: "new"}})
	require.NoError(t, err)
	b.Stop()
	require.NoError(t, b.Start())
	require.Eventually(t, func() bool { return s.ready() != nil }, patience, 10*time.Millisecond, "ready, though it is not let in")
	tracingtest.WriteFile(t, file, []byte("new"))
	s.sorts(t, b, 4, admin)
	s.waitReady(t)
}

func TestNewPartitionsAreRead(t *testing.T) {
	t.Parallel()
	b := startBroker(t, 3)
	s := startWith(t, b, kafkaclient.Security{})
	s.waitReady(t)
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, err)
	defer client.Close()
	answers, err := kadm.NewClient(client).UpdatePartitions(t.Context(), 6, "number-topic")
	require.NoError(t, err)
	require.NoError(t, answers.Error())
	for p := range int32(6) {
		r := &kgo.Record{Topic: "number-topic", Partition: p, Value: []byte("6")}
		require.NoError(t, client.ProduceSync(t.Context(), r).FirstErr())
	}
	assert.Len(t, tracingtest.ReadTopic(t, b.Addr(), "even-topic", 6), 6)
}
