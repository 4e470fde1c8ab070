package tracing

import (
	"context"
	"fmt"
	"testing"
	"time"

	"fault-tolerant-tracing/tracing/batch"
	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/opentracing/opentracing-go"
	"github.com/opentracing/opentracing-go/log"
	"github.com/stretchr/testify/require"
	"github.com/uber/jaeger-client-go"
	thrift "github.com/uber/jaeger-client-go/thrift-gen/jaeger"
)

func TestMain(m *testing.M) {
	tracingtest.AsProgram(traced)
	tracingtest.VerifyMain(m)
}

const (
	patience = 30 * time.Second // what only a failing test waits
	tick     = 5 * time.Millisecond
)

func ending(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func cluster(addr string) kafkaclient.Cluster { return kafkaclient.Cluster{Brokers: []string{addr}} }

// startTransport makes a transport to a broker's address, closed with the test.
func startTransport(t *testing.T, cfg TransportConfig, producer kafka.ConfigMap) (*Transport, *tracingtest.Log) {
	t.Helper()
	lines := new(tracingtest.Log)
	cfg.Logger = lines.Logger()
	tr, err := newTransport(cfg, producer)
	require.NoError(t, err)
	t.Cleanup(func() { _ = tr.Shutdown(ending(t, 0)) })
	return tr, lines
}

// source makes finished spans that belong to one process.
type source struct {
	tracer opentracing.Tracer
	n      int
}

func newSource(t *testing.T) *source {
	tracer, _ := tracingtest.NewTracer(t, "service")
	return &source{tracer: tracer}
}

// span returns the next finished span: span-0, span-1, …
func (s *source) span(fields ...log.Field) *jaeger.Span {
	span := s.tracer.StartSpan(fmt.Sprint("span-", s.n))
	s.n++
	if len(fields) > 0 {
		span.LogFields(fields...)
	}
	span.Finish()
	return span.(*jaeger.Span)
}

func (s *source) feed(t *testing.T, tr *Transport, n int, fields ...log.Field) {
	t.Helper()
	for range n {
		_, err := tr.Append(s.span(fields...))
		require.NoError(t, err)
	}
}

// names lists span-from to span-(to-1).
func names(from, to int) []string {
	var list []string
	for i := from; i < to; i++ {
		list = append(list, fmt.Sprint("span-", i))
	}
	return list
}

// readBatches reads the topic until it holds so many records.
func readBatches(t *testing.T, b *tracingtest.Broker, atLeast int) []*thrift.Batch {
	t.Helper()
	var batches []*thrift.Batch
	for _, r := range tracingtest.ReadTopic(t, b.Addr(), DefaultTopic, atLeast) {
		decoded, err := batch.Decode(r.Value)
		require.NoError(t, err)
		batches = append(batches, decoded)
	}
	return batches
}

// waitSpans reads the topic until it holds so many spans.
func waitSpans(t *testing.T, b *tracingtest.Broker, atLeast int) []*thrift.Batch {
	t.Helper()
	tracingtest.SpansOnTopic(t, b.Addr(), DefaultTopic, atLeast)
	return readBatches(t, b, 0)
}

func operations(batches []*thrift.Batch) []string {
	var list []string
	for _, b := range batches {
		for _, s := range b.Spans {
			list = append(list, s.OperationName)
		}
	}
	return list
}

func seqNos(batches []*thrift.Batch) []int64 {
	var list []int64
	for _, b := range batches {
		list = append(list, b.GetSeqNo())
	}
	return list
}

func statsOf(b *thrift.Batch) batch.Stats {
	return batch.Stats{
		FullQueueDropped: b.Stats.FullQueueDroppedSpans,
		TooLargeDropped:  b.Stats.TooLargeDroppedSpans,
		FailedToEmit:     b.Stats.FailedToEmitSpans,
	}
}

func startBroker(t *testing.T) *tracingtest.Broker {
	t.Helper()
	b := tracingtest.StartBroker(t)
	b.CreateTopics(t, 3, DefaultTopic)
	return b
}
