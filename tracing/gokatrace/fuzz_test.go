package gokatrace

import (
	"strings"
	"testing"

	"fault-tolerant-tracing/tracing/propagation"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/lovoo/goka"
	"github.com/stretchr/testify/require"
	"github.com/uber/jaeger-client-go"
)

// Whatever headers a message has, a context that is read from them can be written
// to them again, and read as it was.
func FuzzHeaders(f *testing.F) {
	for _, headers := range []string{
		"", "uber-trace-id=a:b:0:1", "Uber-Trace-Id=a%3Ab%3A0%3A1\nuber-trace-id=?\nother=1",
		"uber-trace-id=a:b:0:1\nuberctx-user id=x\nuberctx-k=a+b%20c\nUBERCTX-K=2\nuberctx-baggage.dropped=x",
		"jaeger-debug-id=x\njaeger-baggage=a=1, b = 2,=,c", "uberctx-k=" + strings.Repeat("x", propagation.MaxBaggageBytes),
		"traceparent=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\ntracestate=a=1,b=2\nTracestate=c=3",
	} {
		f.Add(headers)
	}
	tracer, _ := tracingtest.NewTracer(f, "test")
	f.Fuzz(func(t *testing.T, text string) {
		headers := goka.Headers{}
		for line := range strings.SplitSeq(text, "\n") {
			name, value, _ := strings.Cut(line, "=")
			headers[name] = []byte(value)
		}
		sc, found := extract(tracer, headers).(jaeger.SpanContext)
		if !found || !sc.IsValid() {
			return
		}
		require.NoError(t, tracer.Inject(sc, format, carrier(headers)))
		next, _ := extract(tracer, headers).(jaeger.SpanContext)
		require.Equal(t, sc.String(), next.String())
		require.Equal(t, baggage(sc), baggage(next))
	})
}

// baggage returns what of a context's baggage travels.
func baggage(sc jaeger.SpanContext) map[string]string {
	items := map[string]string{}
	sc.ForeachBaggageItem(func(name, value string) bool {
		if name != propagation.DroppedTag {
			items[name] = value
		}
		return true
	})
	return items
}
