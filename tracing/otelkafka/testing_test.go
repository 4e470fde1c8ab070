package otelkafka

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/numbering"
	"fault-tolerant-tracing/tracing/otlp"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/slim/otlp/trace/v1"
)

func TestMain(m *testing.M) { tracingtest.VerifyMain(m) }

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

func startBroker(t *testing.T) *tracingtest.Broker {
	t.Helper()
	b := tracingtest.StartBroker(t)
	b.CreateTopics(t, 3, DefaultTopic)
	return b
}

// startExporter makes an exporter to a broker's address, shut down with the test.
func startExporter(t *testing.T, cfg Config, producer kafka.ConfigMap) (*Exporter, *tracingtest.Log) {
	t.Helper()
	lines := new(tracingtest.Log)
	cfg.Logger = lines.Logger()
	e, err := newExporter(cfg, producer)
	require.NoError(t, err)
	t.Cleanup(func() { _ = e.Shutdown(ending(t, 0)) })
	return e, lines
}

// source makes finished spans.
type source struct {
	tracer trace.Tracer
	ended  *tracetest.SpanRecorder
	n      int
}

func newSource(t *testing.T) *source {
	t.Helper()
	ended := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(ended))
	t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	return &source{tracer: provider.Tracer("test"), ended: ended}
}

// spans returns the next n finished spans: span-0, span-1, …
func (s *source) spans(n int, attributes ...attribute.KeyValue) []sdktrace.ReadOnlySpan {
	s.ended.Reset()
	for range n {
		_, span := s.tracer.Start(context.Background(), fmt.Sprint("span-", s.n), trace.WithAttributes(attributes...))
		span.End()
		s.n++
	}
	return s.ended.Ended()
}

// feed exports n spans, all of which must be taken.
func (s *source) feed(t *testing.T, e *Exporter, n int, attributes ...attribute.KeyValue) {
	t.Helper()
	require.NoError(t, e.ExportSpans(t.Context(), s.spans(n, attributes...)))
}

func payload(size int) attribute.KeyValue {
	return attribute.String("payload", strings.Repeat("x", size))
}

// names lists span-from to span-(to-1).
func names(from, to int) []string {
	var list []string
	for i := from; i < to; i++ {
		list = append(list, fmt.Sprint("span-", i))
	}
	return list
}

// record is one record of the topic.
type record struct {
	*kgo.Record
	seqNo  int64
	losses numbering.Losses
	spans  []*tracepb.Span
}

// read reads the topic until it holds so many records.
func read(t *testing.T, b *tracingtest.Broker, atLeast int) []record {
	t.Helper()
	var records []record
	for _, r := range tracingtest.ReadTopic(t, b.Addr(), DefaultTopic, atLeast) {
		one := record{Record: r}
		request, err := otlp.Decode(r.Value)
		require.NoError(t, err)
		for _, resource := range request.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				one.spans = append(one.spans, scope.Spans...)
			}
		}
		var numbered, counted bool
		one.seqNo, numbered = numbering.ParseSeqNo([]byte(tracingtest.Header(r, numbering.SeqNoHeader)))
		one.losses, counted = numbering.ParseLosses([]byte(tracingtest.Header(r, numbering.LossesHeader)))
		require.True(t, numbered && counted, "headers %v", r.Headers)
		records = append(records, one)
	}
	return records
}

func operations(records []record) []string {
	var list []string
	for _, r := range records {
		for _, s := range r.spans {
			list = append(list, s.Name)
		}
	}
	return list
}

func seqNos(records []record) []int64 {
	var list []int64
	for _, r := range records {
		list = append(list, r.seqNo)
	}
	return list
}

// assertInOrder checks that every span has arrived, and that records seen for the
// first time come in the order of their numbers.
func assertInOrder(t *testing.T, records []record, spans int) {
	t.Helper()
	var last int64
	var first []record
	for _, r := range records {
		if r.seqNo > last {
			assert.Equal(t, last+1, r.seqNo, "no gap")
			last = r.seqNo
			first = append(first, r)
		}
	}
	assert.Equal(t, names(0, spans), operations(first))
}
