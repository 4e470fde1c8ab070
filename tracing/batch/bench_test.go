package batch_test

import (
	"context"
	"fmt"
	"testing"

	"fault-tolerant-tracing/tracing/batch"

	"github.com/uber/jaeger-client-go/thrift"
	"github.com/uber/jaeger-client-go/thrift-gen/jaeger"
)

// typical is a batch of spans as jaeger-client-go writes them: five tags, about
// 250 bytes, empty lists written too.
func typical(spans int) *jaeger.Batch {
	b := everything()
	b.Spans = nil
	for i := range int64(spans) {
		b.Spans = append(b.Spans, &jaeger.Span{
			TraceIdLow: 0x1122334455667788 + i/9, SpanId: 1000 + i, ParentSpanId: 999 + i, OperationName: "To_sentence-topic",
			References: []*jaeger.SpanRef{}, Flags: 1, StartTime: 1_600_000_000_000_000 + i, Duration: 1234 + i,
			Tags: []*jaeger.Tag{
				{Key: "span.kind", VType: jaeger.TagType_STRING, VStr: ptr("producer")},
				{Key: "component", VType: jaeger.TagType_STRING, VStr: ptr("kafka")},
				{Key: "number.value", VType: jaeger.TagType_LONG, VLong: ptr(i)},
				{Key: "partition", VType: jaeger.TagType_LONG, VLong: ptr(i % 3)},
				{Key: "error", VType: jaeger.TagType_BOOL, VBool: ptr(false)},
			},
			Logs: []*jaeger.Log{},
		})
	}
	return b
}

// BenchmarkParse compares Parse with the decoder that jaeger-client-go brings.
func BenchmarkParse(b *testing.B) {
	for _, spans := range []int{9, 100} {
		value := encode(b, typical(spans))
		var ours float64
		b.Run(fmt.Sprintf("spans=%d/reader=Parse", spans), func(b *testing.B) {
			ours = nsPerSpan(b, spans, func() error {
				_, err := batch.Parse(value)
				return err
			})
			b.ReportMetric(float64(len(value))/float64(spans), "B/span")
		})
		b.Run(fmt.Sprintf("spans=%d/reader=jaeger-client-go", spans), func(b *testing.B) {
			theirs := nsPerSpan(b, spans, func() error {
				buf := thrift.NewTMemoryBufferLen(len(value))
				buf.Write(value)
				return jaeger.NewBatch().Read(context.Background(), thrift.NewTBinaryProtocolConf(buf, nil))
			})
			if ours > 0 {
				b.ReportMetric(theirs/ours, "×Parse")
			}
		})
	}
}

func nsPerSpan(b *testing.B, spans int, f func() error) float64 {
	b.ReportAllocs()
	for b.Loop() {
		if err := f(); err != nil {
			b.Fatal(err)
		}
	}
	ns := float64(b.Elapsed().Nanoseconds()) / float64(b.N*spans)
	b.ReportMetric(ns, "ns/span")
	return ns
}
