package kafkatrace

import (
	"strings"
	"testing"

	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/stretchr/testify/assert"
)

func TestContextsTravelFromRecordToRecord(t *testing.T) {
	context := header(contextKey, "a:b:0:1")
	tests := []struct {
		name    string
		headers []kafka.Header
		parent  string         // of the From_ span
		tags    map[string]any // of the From_ span
		flags   string         // of the context in the next record
		baggage []kafka.Header // in the next record
	}{
		{"a context", []kafka.Header{context}, "000000000000000b", nil, "1", nil},
		{"blanks around it", []kafka.Header{header(contextKey, " a:b:0:1\t")}, "000000000000000b", nil, "1", nil},
		{"baggage", []kafka.Header{context, header("uberctx-k", "a b")}, "000000000000000b", nil, "1", []kafka.Header{header("uberctx-k", "a+b")}},
		{"the last of several baggage items of one name", []kafka.Header{context, header("uberctx-k", "1"), header("UBERCTX-K", "2")}, "000000000000000b", nil, "1", []kafka.Header{header("uberctx-k", "2")}},
		{"a name that HTTP does not take", []kafka.Header{context, header("uberctx-user id", "x")}, "000000000000000b", map[string]any{"baggage.dropped": `"user id"`}, "1", nil},
		{"100 kB", []kafka.Header{context, header("uberctx-k", strings.Repeat("x", 100_000))}, "000000000000000b", map[string]any{"baggage.dropped": `"k"`}, "1", nil},
		{"a debug id", []kafka.Header{header("jaeger-debug-id", "x")}, "", map[string]any{"jaeger-debug-id": "x"}, "3", nil},
		{"baggage for a new trace", []kafka.Header{header("jaeger-baggage", "a=1")}, "", nil, "1", []kafka.Header{header("uberctx-a", "1")}},
		{"a malformed context", []kafka.Header{header(contextKey, "?"), header("uberctx-user id", "x")}, "", nil, "1", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tracer, recorder := tracingtest.NewTracer(t, "test")
			from := StartConsumeSpan(tracer, &kafka.Message{Headers: tt.headers})
			next := &kafka.Message{}
			StartProduceSpan(tracer, from.Context(), next).Finish()
			from.Finish()

			first, to := tracingtest.Named(t, recorder.Spans(), "From_"), tracingtest.Named(t, recorder.Spans(), "To_")
			assert.Equal(t, tt.parent, first.ParentID)
			for _, tag := range []string{"baggage.dropped", "jaeger-debug-id"} {
				assert.Equal(t, tt.tags[tag], first.Tags[tag], tag)
			}
			context := to.TraceID + ":" + to.ID + ":" + first.ID + ":" + tt.flags
			assert.ElementsMatch(t, append(tt.baggage, header(contextKey, context), header("traceparent", to.Traceparent())), next.Headers)
		})
	}
}
