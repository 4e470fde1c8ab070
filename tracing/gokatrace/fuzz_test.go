package gokatrace

import (
	"strings"
	"testing"

	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/lovoo/goka"
	"github.com/stretchr/testify/require"
	"github.com/uber/jaeger-client-go"
)

// Whatever headers a message has, a context that is read from them can be written
// to them again, and read as it was.
func FuzzHeaders(f *testing.F) {
	for _, headers := range tracingtest.Headers {
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
		require.Equal(t, tracingtest.Baggage(sc), tracingtest.Baggage(next))
	})
}
