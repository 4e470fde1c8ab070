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
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// soon takes the place of kafkaclient.DefaultRefreshInterval. A closed sarama client
// ends only when it does not want to refresh just then.
const soon = time.Second

// startWith starts a stream on a broker that lets not everybody in.
func startWith(t *testing.T, b *tracingtest.Broker, s kafkaclient.Security) running {
	t.Helper()
	tracer, _ := tracingtest.NewTracer(t, group)
	cfg := testConfig(b.Addr())
	cfg.Common.ShutdownTimeout = 2 * time.Second // a processor that is not let in cannot end by itself
	return startStreamOn(t, tracer, cfg, kafkaclient.Cluster{Brokers: []string{b.Addr()}, Security: s, RefreshInterval: soon})
}

// seeded are the topics of a broker to which the helpers of other tests get no
// connection.
func seeded() kfake.Opt { return kfake.SeedTopics(3, append(testConfig("").topics(), "number-dlq")...) }

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

func TestItTakesARenewedCertificateIntoUse(t *testing.T) {
	t.Parallel()
	a := tracingtest.NewAuthority(t)
	b := tracingtest.StartBroker(t, seeded(), kfake.TLS(a.ServerTLS(t)))
	files := a.NewPEMFiles(t, time.Now().Add(time.Hour))
	s := startWith(t, b, clientOf(files))
	s.sorts(t, b, 2, kgo.DialTLSConfig(a.ClientTLS(t)))

	a.Renew(t, files, time.Now().Add(time.Hour))
	s.waitLog(t, errChanged.Error())
	s.sorts(t, b, 4, kgo.DialTLSConfig(a.ClientTLS(t)))
	s.waitReady(t)
}

func TestItIsNotReadyUntilItIsLetIn(t *testing.T) {
	t.Parallel()
	addr, dir := tracingtest.FreeAddr(t), t.TempDir()
	start := func(a *tracingtest.Authority) *tracingtest.Broker {
		b, err := tracingtest.NewBroker(addr, dir, seeded(), kfake.TLS(a.ServerTLS(t)))
		require.NoError(t, err)
		t.Cleanup(b.Stop)
		return b
	}
	one, another := tracingtest.NewAuthority(t), tracingtest.NewAuthority(t)
	b := start(one)
	files := one.NewPEMFiles(t, time.Now().Add(time.Hour))
	s := startWith(t, b, clientOf(files))
	s.waitReady(t)

	b.Stop()
	b = start(another)
	require.Eventually(t, func() bool { return s.ready() != nil }, patience, 10*time.Millisecond, "ready, though it is not let in")
	another.Renew(t, files, time.Now().Add(time.Hour))
	another.WriteCA(t, files)
	s.sorts(t, b, 6, kgo.DialTLSConfig(another.ClientTLS(t)))
	s.waitReady(t)
}

func TestItIsNotReadyWhenTheGroupIsSilent(t *testing.T) {
	t.Parallel()
	b := startBroker(t, 3)
	s := startWith(t, b, kafkaclient.Security{})
	s.waitReady(t)
	answer := make(chan struct{})
	defer close(answer)
	b.Cluster().ControlKey(int16(kmsg.Heartbeat), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.Cluster().SleepControl(func() { <-answer })
		return nil, nil, false
	})
	began := time.Now()
	require.Eventually(t, func() bool { return s.ready() != nil }, patience, 10*time.Millisecond)
	assert.Less(t, time.Since(began), s.cfg.Group.SessionTimeout+5*time.Second)
	assert.ErrorContains(t, s.ready(), "has not answered")
}

func clientOf(f tracingtest.PEMFiles) kafkaclient.Security {
	return kafkaclient.Security{Protocol: "SSL", TLSCAFile: f.CA, TLSCertFile: f.Cert, TLSKeyFile: f.Key}
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
