package payload

import (
	"testing"

	"github.com/jaegertracing/jaeger-idl/model/v1"
	"github.com/stretchr/testify/require"

	"fault-tolerant-tracing/tracing/otlp"
)

// Whatever a record holds, it is refused, or its spans can be counted, split, chosen
// from and decoded, and are the same number each time.
func FuzzParse(f *testing.F) {
	for _, value := range records(f) {
		f.Add(value)
	}
	one := model.Span{OperationName: "a", Process: &model.Process{ServiceName: service}, TraceID: model.NewTraceID(1, 2), SpanID: 7}
	proto, err := one.Marshal()
	require.NoError(f, err)
	f.Add(proto)
	f.Add([]byte(`{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"","spanId":"x","kind":-1,"attributes":[{"key":"a","value":{"arrayValue":{}}}]}]}]}]}`))
	f.Add([]byte(`{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"a"}}]},"unknown":[{}]}]}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		for _, setting := range []Setting{{}, {Format: "jaeger_proto"}} {
			spans, err := setting.Parse(value)
			if err != nil {
				continue
			}
			n := spans.Len()
			require.Equal(t, value, spans.Slice(0, n))
			chosen, count := spans.Select(func(string, otlp.TraceID) bool { return true })
			require.Equal(t, n, count)
			require.Equal(t, n == 0, chosen == nil)
			if traces, err := spans.Decode(); err == nil {
				require.Equal(t, n, traces.SpanCount())
			}
			if n > 1 {
				half, err := Parse(spans.Slice(0, n/2))
				require.NoError(t, err)
				require.Equal(t, n/2, half.Len())
			}
		}
	})
}
