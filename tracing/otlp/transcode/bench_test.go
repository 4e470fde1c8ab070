package transcode_test

import (
	"fmt"
	"testing"

	"github.com/jaegertracing/jaeger-idl/thrift-gen/jaeger"
	translator "github.com/open-telemetry/opentelemetry-collector-contrib/pkg/translator/jaeger"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"fault-tolerant-tracing/tracing/batch"
	"fault-tolerant-tracing/tracing/otlp/transcode"
)

// BenchmarkAppend compares Append with the published translation, which is given the
// decoded batch.
func BenchmarkAppend(b *testing.B) {
	for _, spans := range []int{9, 100} {
		decoded := typical(spans)
		value := encode(b, decoded)
		var ours float64
		b.Run(fmt.Sprintf("spans=%d/by=Append", spans), func(b *testing.B) {
			var dst []byte
			b.ReportAllocs()
			for b.Loop() {
				frame, err := batch.Parse(value)
				if err != nil {
					b.Fatal(err)
				}
				dst = transcode.Append(dst[:0], frame)
			}
			ours = perSpan(b, spans)
		})
		b.Run(fmt.Sprintf("spans=%d/by=translator", spans), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				traces, err := translator.ThriftToTraces(decoded)
				require.NoError(b, err)
				_, err = new(ptrace.ProtoMarshaler).MarshalTraces(traces)
				require.NoError(b, err)
			}
			if theirs := perSpan(b, spans); ours > 0 {
				b.ReportMetric(theirs/ours, "×Append")
			}
		})
	}
}

func perSpan(b *testing.B, spans int) float64 {
	ns := float64(b.Elapsed().Nanoseconds()) / float64(b.N*spans)
	b.ReportMetric(ns, "ns/span")
	return ns
}

// typical is a batch of spans as jaeger-client-go writes them.
func typical(spans int) *jaeger.Batch {
	text := func(key, value string) *jaeger.Tag {
		return &jaeger.Tag{Key: key, VType: jaeger.TagType_STRING, VStr: &value}
	}
	long := func(key string, value int64) *jaeger.Tag {
		return &jaeger.Tag{Key: key, VType: jaeger.TagType_LONG, VLong: &value}
	}
	b := &jaeger.Batch{Process: &jaeger.Process{ServiceName: "stream-app", Tags: []*jaeger.Tag{
		text("jaeger.version", "Go-2.30.0"), text("hostname", "stream-1"), text("ip", "10.0.0.1"), text("client-uuid", "5f0e9ad3c1b2a467"),
	}}}
	for i := range int64(spans) {
		b.Spans = append(b.Spans, &jaeger.Span{
			TraceIdLow: 0x1122334455667788 + i/9, SpanId: 1000 + i, ParentSpanId: 999 + i, OperationName: "To_sentence-topic",
			References: []*jaeger.SpanRef{}, Flags: 1, StartTime: 1_700_000_000_000_000 + i, Duration: 1234 + i,
			Tags: []*jaeger.Tag{text("span.kind", "producer"), text("component", "kafka"), long("number.value", i), long("partition", i%3), text("peer.service", "kafka")},
			Logs: []*jaeger.Log{},
		})
	}
	return b
}
