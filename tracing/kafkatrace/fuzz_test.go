package kafkatrace

import (
	"strings"
	"testing"

	"fault-tolerant-tracing/tracing/propagation"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
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
		"traceparent=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\ntracestate=a=1,b=2\ntracestate=c=3",
		"uber-trace-id=a:b:0:1\ntraceparent=00-0000000000000000000000000000000a-b7ad6b7169203331-00\ntracestate=\xff",
	} {
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
		require.Equal(t, baggage(span), baggage(next))
		counts := map[string]int{}
		for _, h := range msg.Headers {
			counts[strings.ToLower(h.Key)]++
		}
		require.Equal(t, 1, counts[contextKey])
		require.Equal(t, 1, counts["traceparent"])
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
