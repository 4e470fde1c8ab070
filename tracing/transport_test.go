package tracing

import (
	"context"
	"strings"
	"testing"
	"time"

	"fault-tolerant-tracing/tracing/batch"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/opentracing/opentracing-go/log"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/uber/jaeger-client-go"
	thrift "github.com/uber/jaeger-client-go/thrift-gen/jaeger"
)

func TestBatchesHoldAtMostAHundredSpans(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	tr, _ := startTransport(t, TransportConfig{Kafka: cluster(b.Addr())}, nil)
	spans := newSource(t)
	var flushed []int
	for range 250 {
		n, err := tr.Append(spans.span())
		require.NoError(t, err)
		if n > 0 {
			flushed = append(flushed, n)
		}
	}
	n, err := tr.Flush()
	require.NoError(t, err)
	assert.Equal(t, []int{100, 100, 50}, append(flushed, n))
	require.NoError(t, tr.Shutdown(ending(t, patience)))

	batches := readBatches(t, b, 3)
	assert.Equal(t, []int64{1, 2, 3}, seqNos(batches))
	assert.Equal(t, names(0, 250), operations(batches))
	assert.Len(t, batches[0].Spans, 100)
	assert.Len(t, batches[1].Spans, 100)
	assert.Equal(t, "service", batches[2].Process.ServiceName)
}

func TestRecordsAreKeyedByTheProcess(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	tr, _ := startTransport(t, TransportConfig{Kafka: cluster(b.Addr())}, nil)
	spans := newSource(t)
	for range 3 {
		spans.feed(t, tr, 1)
		_, _ = tr.Flush()
	}
	records := tracingtest.ReadTopic(t, b.Addr(), DefaultTopic, 3)
	decoded, err := batch.Decode(records[0].Value)
	require.NoError(t, err)
	var uuid string
	for _, tag := range decoded.Process.Tags {
		if tag.Key == jaeger.TracerUUIDTagKey {
			uuid = tag.GetVStr()
		}
	}
	require.NotEmpty(t, uuid)
	for _, r := range records {
		assert.Equal(t, uuid, string(r.Key))
		assert.Equal(t, records[0].Partition, r.Partition)
	}
}

func TestFlushOfNothingSendsNothing(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	tr, _ := startTransport(t, TransportConfig{Kafka: cluster(b.Addr())}, nil)
	_, _ = tr.Flush()
	newSource(t).feed(t, tr, 1)
	for range 3 {
		_, _ = tr.Flush()
	}
	require.NoError(t, tr.Shutdown(ending(t, patience)))
	assert.Len(t, readBatches(t, b, 1), 1)
}

func TestRecordsStayBelow900kB(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	tr, _ := startTransport(t, TransportConfig{Kafka: cluster(b.Addr())}, nil)
	newSource(t).feed(t, tr, 30, log.String("payload", strings.Repeat("x", 100_000)))
	require.NoError(t, tr.Shutdown(ending(t, patience)))

	assert.Equal(t, names(0, 30), operations(readBatches(t, b, 4)))
	for _, r := range tracingtest.ReadTopic(t, b.Addr(), DefaultTopic, 4) {
		assert.LessOrEqual(t, len(r.Value), 900_000)
	}
}

// fitting returns a span whose record is exactly size bytes.
func fitting(t *testing.T, spans *source, size int) *jaeger.Span {
	t.Helper()
	span := func(payload int) (*jaeger.Span, int) {
		s := spans.span(log.String("payload", strings.Repeat("x", payload)))
		process, err := batch.EncodeProcess(jaeger.BuildJaegerProcessThrift(s))
		require.NoError(t, err)
		encoded, err := batch.AppendSpan(nil, jaeger.BuildJaegerThrift(s))
		require.NoError(t, err)
		return s, batch.Overhead + len(process) + len(encoded)
	}
	_, rest := span(0)
	s, got := span(size - rest)
	require.Equal(t, size, got)
	return s
}

func TestASpanTooLargeForARecordIsCountedAndTheRestGoesOn(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	tr, lines := startTransport(t, TransportConfig{Kafka: cluster(b.Addr())}, nil)
	spans := newSource(t)
	for _, size := range []int{900_000, 900_001, 900_002} {
		_, err := tr.Append(fitting(t, spans, size))
		require.NoError(t, err)
	}
	spans.feed(t, tr, 1)
	for range 4 {
		_, _ = tr.Flush()
	}
	assert.Equal(t, batch.Stats{TooLargeDropped: 2}, tr.Stats())
	require.NoError(t, tr.Shutdown(ending(t, patience)))

	batches := readBatches(t, b, 2)
	require.Len(t, batches, 2)
	assert.Len(t, batches[0].Spans, 1)
	assert.Equal(t, []string{"span-6"}, operations(batches[1:]))
	assert.Equal(t, batch.Stats{TooLargeDropped: 2}, statsOf(batches[1]))
	assert.Equal(t, 1, lines.Count("losing spans"))
	assert.Equal(t, 1, lines.Count(`msg="lost spans" full_queue=0 too_large=2 failed_to_emit=0`))
}

func TestStatsTravelWithoutSpansWhenNoneFollow(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	tr, _ := startTransport(t, TransportConfig{Kafka: cluster(b.Addr())}, nil)
	_, err := tr.Append(fitting(t, newSource(t), 900_001))
	require.NoError(t, err)
	for range 3 {
		_, err := tr.Flush()
		require.NoError(t, err)
	}
	require.NoError(t, tr.Shutdown(ending(t, patience)))
	batches := readBatches(t, b, 1)
	require.Len(t, batches, 1, "once is enough")
	assert.Empty(t, batches[0].Spans)
	assert.Equal(t, batch.Stats{TooLargeDropped: 1}, statsOf(batches[0]))
}

func TestAppendAndFlushDoNotWaitForKafka(t *testing.T) {
	start := time.Now()
	tr, _ := startTransport(t, TransportConfig{Kafka: cluster(tracingtest.FreeAddr(t))}, nil)
	spans := newSource(t)
	for range 100 {
		spans.feed(t, tr, 150)
		_, _ = tr.Flush()
	}
	assert.Less(t, time.Since(start), patience)
	assert.Equal(t, batch.Stats{}, tr.Stats())
}

func TestBrokerRestartLosesNothingAndKeepsTheOrder(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	tr, lines := startTransport(t, TransportConfig{Kafka: cluster(b.Addr())}, nil)
	spans := newSource(t)
	feed := func(batches int) {
		for range batches {
			spans.feed(t, tr, 10)
			_, _ = tr.Flush()
		}
	}
	feed(20)
	waitSpans(t, b, 10)
	feed(20)
	b.Stop()
	feed(20)
	lines.Wait(t, "librdkafka")
	require.NoError(t, b.Start())
	feed(20)
	require.NoError(t, tr.Shutdown(ending(t, patience)))

	got := waitSpans(t, b, 800)
	assertInOrder(t, got, 800)
	assert.Equal(t, batch.Stats{}, tr.Stats())
}

// assertInOrder checks that every span has arrived, and that batches seen for the
// first time come in the order of their numbers.
func assertInOrder(t *testing.T, batches []*thrift.Batch, spans int) {
	t.Helper()
	var last int64
	var first []*thrift.Batch
	for _, b := range batches {
		if b.GetSeqNo() > last {
			assert.Equal(t, last+1, b.GetSeqNo(), "no gap")
			last = b.GetSeqNo()
			first = append(first, b)
		}
	}
	assert.Equal(t, names(0, spans), operations(first))
}

func TestKafkaAwayFromTheStart(t *testing.T) {
	t.Parallel()
	addr := tracingtest.FreeAddr(t)
	tr, lines := startTransport(t, TransportConfig{Kafka: cluster(addr)}, nil)
	newSource(t).feed(t, tr, 200)
	lines.Wait(t, "librdkafka")
	b, err := tracingtest.NewBroker(addr, "")
	require.NoError(t, err)
	t.Cleanup(b.Stop)
	b.CreateTopics(t, 1, DefaultTopic)
	assertInOrder(t, waitSpans(t, b, 200), 200)
}

func TestFullBufferLosesTheNewestBatchesAndSaysSo(t *testing.T) {
	t.Parallel()
	addr := tracingtest.FreeAddr(t)
	tr, lines := startTransport(t, TransportConfig{Kafka: cluster(addr), BufferBytes: maxRecordBytes}, nil)
	spans := newSource(t)
	feed := func(batches int) { // batches of three spans, of which two fit
		for range batches {
			spans.feed(t, tr, 3, log.String("payload", strings.Repeat("x", 100_000)))
			_, _ = tr.Flush()
		}
	}
	feed(6)
	require.Equal(t, batch.Stats{FailedToEmit: 12}, tr.Stats())
	assert.Equal(t, 1, lines.Count("losing spans"))

	b, err := tracingtest.NewBroker(addr, "")
	require.NoError(t, err)
	t.Cleanup(b.Stop)
	b.CreateTopics(t, 1, DefaultTopic)
	require.Eventually(t, func() bool { return tr.outbox.Left() == 0 }, patience, tick)
	for range 2 { // nothing was lost between them: the burst is over
		_, _ = tr.Flush()
	}
	assert.Equal(t, 1, lines.Count("failed_to_emit=12"))
	feed(2) // there is room again
	require.NoError(t, tr.Shutdown(ending(t, patience)))

	batches := readBatches(t, b, 5)
	assert.Equal(t, append(names(0, 6), names(18, 24)...), operations(batches))
	assert.Equal(t, []int64{1, 2, 7, 8, 9}, seqNos(batches), "the lost batches have used up their numbers")
	assert.Empty(t, batches[2].Spans, "stats did not wait for spans")
	assert.Equal(t, batch.Stats{FailedToEmit: 12}, statsOf(batches[2]))
}

func TestShutdownSaysHowManySpansAreLeftBehind(t *testing.T) {
	tr, _ := startTransport(t, TransportConfig{Kafka: cluster(tracingtest.FreeAddr(t))}, nil)
	spans := newSource(t)
	spans.feed(t, tr, 123)
	start := time.Now()
	err := tr.Shutdown(ending(t, 50*time.Millisecond))
	assert.Less(t, time.Since(start), 5*time.Second)
	var left *LeftBehindError
	require.ErrorAs(t, err, &left)
	assert.Equal(t, 123, left.Spans)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Same(t, err, tr.Shutdown(context.Background()), "again: the same, at once")
	_, err = tr.Append(spans.span())
	assert.ErrorIs(t, err, errTransportClosed)
}

func TestBufferMustHoldARecord(t *testing.T) {
	_, err := NewTransport(TransportConfig{Kafka: cluster("localhost:9092"), BufferBytes: 1000})
	assert.ErrorContains(t, err, "1000 bytes")
	_, err = NewTransport(TransportConfig{})
	assert.ErrorContains(t, err, "brokers")
}
