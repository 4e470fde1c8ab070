package batch_test

import (
	"context"
	"fmt"
	"testing"

	"fault-tolerant-tracing/tracing/batch"

	"github.com/stretchr/testify/require"
	"github.com/uber/jaeger-client-go/thrift"
	"github.com/uber/jaeger-client-go/thrift-gen/jaeger"
)

const benchSpans = 100

// typical is a batch of spans as jaeger-client-go writes them: five tags, about
// 250 bytes, empty lists written too.
func typical() *jaeger.Batch {
	b := everything()
	b.Spans = nil
	for i := range int64(benchSpans) {
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
	value := encode(b, typical())
	b.Logf("%d bytes per span", len(value)/benchSpans)
	var ours float64
	b.Run("Parse", func(b *testing.B) {
		ours = nsPerSpan(b, func() error {
			_, err := batch.Parse(value)
			return err
		})
	})
	b.Run("jaeger-client-go", func(b *testing.B) {
		theirs := nsPerSpan(b, func() error {
			buf := thrift.NewTMemoryBufferLen(len(value))
			buf.Write(value)
			return jaeger.NewBatch().Read(context.Background(), thrift.NewTBinaryProtocolConf(buf, nil))
		})
		if ours > 0 {
			b.ReportMetric(theirs/ours, "times-Parse")
		}
	})
}

// BenchmarkMerge merges batches into memory that is there.
func BenchmarkMerge(b *testing.B) {
	value := encode(b, typical())
	f := parse(b, value)
	for _, n := range []int{2, 5} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			frames, dst := make([]batch.Frame, n), make([]byte, 0, n*len(value))
			for i := range frames {
				frames[i] = f
			}
			nsPerSpan(b, func() error {
				if _, ok := batch.Merge(dst, frames...); !ok {
					return fmt.Errorf("not merged")
				}
				return nil
			})
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n*benchSpans), "ns/span")
		})
	}
}

func nsPerSpan(b *testing.B, f func() error) float64 {
	b.ReportAllocs()
	for b.Loop() {
		require.NoError(b, f())
	}
	ns := float64(b.Elapsed().Nanoseconds()) / float64(b.N*benchSpans)
	b.ReportMetric(ns, "ns/span")
	return ns
}
