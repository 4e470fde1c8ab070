package kafkatrace

import (
	"strings"
	"testing"

	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
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
	f.Fuzz(func(t *testing.T, headers string) {
		msg := new(kafka.Message)
		for line := range strings.SplitSeq(headers, "\n") {
			name, value, _ := strings.Cut(line, "=")
			msg.Headers = append(msg.Headers, header(name, value))
		}
		span := StartProduceSpan(tracer, Extract(tracer, msg), msg).Context().(jaeger.SpanContext)
		next, _ := Extract(tracer, msg).(jaeger.SpanContext)
		require.Equal(t, span.String(), next.String())
		require.Equal(t, tracingtest.Baggage(span), tracingtest.Baggage(next))
		counts := map[string]int{}
		for _, h := range msg.Headers {
			counts[strings.ToLower(h.Key)]++
		}
		require.Equal(t, 1, counts[contextKey])
		require.Equal(t, 1, counts["traceparent"])
	})
}
