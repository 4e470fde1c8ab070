package archive

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/uber/jaeger-client-go/thrift-gen/jaeger"
	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"

	"fault-tolerant-tracing/services/internal/payload"
	"fault-tolerant-tracing/services/internal/replay"
	"fault-tolerant-tracing/tracing/batch"
	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/tracingtest"
)

const (
	testTopic = "tracing-topic"
	deadline  = 60 * time.Second // only a failing test waits that long
)

// memory returns an archive in memory.
func memory(t *testing.T) *Archive {
	a := &Archive{url: "mem://", bucket: memblob.OpenBucket(nil)}
	t.Cleanup(func() { require.NoError(t, a.Close()) })
	return a
}

// directory returns an archive in a directory of its own.
func directory(t *testing.T) *Archive {
	t.Helper()
	return open(t, "file://"+filepath.ToSlash(t.TempDir()))
}

func open(t *testing.T, url string) *Archive {
	t.Helper()
	a, err := Open(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, a.Close()) })
	return a
}

// newBatch encodes a batch of so many spans.
func newBatch(t testing.TB, spans int) []byte {
	t.Helper()
	process, err := batch.EncodeProcess(&jaeger.Process{ServiceName: "test"})
	require.NoError(t, err)
	var b []byte
	for i := range spans {
		b, err = batch.AppendSpan(b, &jaeger.Span{SpanId: int64(i), OperationName: "operation"})
		require.NoError(t, err)
	}
	return batch.Encode(process, b, spans, 1, batch.Stats{})
}

// logs is where an archiver under test writes its log.
type logs struct{ tracingtest.Log }

// count returns how many lines have all the words.
func (l *logs) count(words ...string) int {
	n := 0
lines:
	for line := range strings.Lines(l.String()) {
		for _, word := range words {
			if !strings.Contains(line, word) {
				continue lines
			}
		}
		n++
	}
	return n
}

// running is an archiver that runs.
type running struct {
	*logs
	stop func() error // tells it to stop, and returns what Run returned
	done chan struct{}
}

// start runs an archiver until the test ends.
func start(t *testing.T, broker *tracingtest.Broker, to *Archive, change ...func(*Config)) *running {
	t.Helper()
	r := &running{logs: &logs{}, done: make(chan struct{})}
	cfg := Config{
		Archive:        to,
		Cluster:        kafkaclient.Cluster{Brokers: []string{broker.Addr()}},
		Topic:          testTopic,
		Group:          "tracing-archive",
		SessionTimeout: 6 * time.Second,
		Every:          200 * time.Millisecond,
		StopTimeout:    4 * time.Second,
		Log:            slog.New(slog.NewTextHandler(io.MultiWriter(r.logs, t.Output()), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range change {
		f(&cfg)
	}
	a, err := New(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var result error
	go func() {
		defer close(r.done)
		result = a.Run(ctx)
	}()
	r.stop = func() error { cancel(); <-r.done; return result }
	t.Cleanup(func() { _ = r.stop() })
	return r
}

// wait returns what Run returned by itself.
func (r *running) wait(t *testing.T) error {
	t.Helper()
	select {
	case <-r.done:
	case <-time.After(deadline):
		t.Fatal("the archiver has not ended")
	}
	return r.stop()
}

func onceOnly(c *Config) { c.Once = true }

// startTopic starts a broker with the topic.
func startTopic(t *testing.T, partitions int) *tracingtest.Broker {
	t.Helper()
	broker := tracingtest.StartBroker(t)
	broker.CreateTopics(t, partitions, testTopic)
	return broker
}

func client(t testing.TB, broker *tracingtest.Broker, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(broker.Addr()), kgo.DefaultProduceTopic(testTopic),
		kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// produce writes n records, the i-th to partition i modulo partitions.
func produce(t testing.TB, broker *tracingtest.Broker, partitions, n int, change ...func(i int, r *kgo.Record)) {
	t.Helper()
	c := client(t, broker) // a fresh one: a client knows the topic by its id
	defer c.Close()
	records := make([]*kgo.Record, n)
	value := newBatch(t, 2)
	for i := range records {
		records[i] = &kgo.Record{
			Partition: int32(i % partitions),
			Key:       fmt.Appendf(nil, "key-%d", i),
			Value:     value,
			Headers:   []kgo.RecordHeader{{Key: "n", Value: fmt.Append(nil, i)}},
		}
		for _, f := range change {
			f(i, records[i])
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	require.NoError(t, c.ProduceSync(ctx, records...).FirstErr())
}

func admin(t testing.TB, broker *tracingtest.Broker) *kadm.Client {
	t.Helper()
	return kadm.NewClient(client(t, broker))
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	require.Eventually(t, holds, deadline, 5*time.Millisecond, what)
}

// everything returns all records that the archive yields for the topic.
func everything(t *testing.T, a *Archive) []replay.Record {
	t.Helper()
	var all []replay.Record
	source := a.Source(testTopic, time.Time{}, time.Time{})
	require.NoError(t, source.Read(t.Context(), func(r replay.Record) error {
		all = append(all, r)
		return nil
	}))
	return all
}

// requireSame requires the archive to have what the topic has, each record once
// and byte for byte.
func requireSame(t *testing.T, broker *tracingtest.Broker, a *Archive) {
	t.Helper()
	want := tracingtest.ReadTopic(t, broker.Addr(), testTopic, 0)
	got := everything(t, a)
	require.Equal(t, len(want), len(got), "records")
	for i, w := range want {
		g := got[i]
		require.Equal(t, replay.Record{Partition: w.Partition, Offset: w.Offset, Time: w.Timestamp, Key: w.Key, Value: w.Value}, g)
	}
	requireWhole(t, a)
}

// requireWhole requires Verify to find nothing broken.
func requireWhole(t *testing.T, a *Archive) Report {
	t.Helper()
	report, err := a.Verify(t.Context(), payload.Setting{})
	require.NoError(t, err)
	require.Empty(t, report.Broken)
	return report
}

func segments(t *testing.T, a *Archive) []Segment {
	t.Helper()
	found, err := a.list(t.Context(), "")
	require.NoError(t, err)
	return found.segments
}

// archived tells whether the archive has so many records.
func archived(t *testing.T, a *Archive, records int64) bool {
	t.Helper()
	total := int64(0)
	for _, s := range segments(t, a) {
		total += s.Last - s.First + 1
	}
	return total >= records
}

// object returns the content of an object, and replaces it.
func object(t *testing.T, b *blob.Bucket, name string) (content []byte, replace func([]byte)) {
	t.Helper()
	content, err := b.ReadAll(t.Context(), name)
	require.NoError(t, err)
	return content, func(changed []byte) { require.NoError(t, b.WriteAll(t.Context(), name, changed, nil)) }
}
