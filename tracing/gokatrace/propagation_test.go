package gokatrace_test

import (
	"strings"
	"testing"

	"fault-tolerant-tracing/tracing/gokatrace"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/lovoo/goka"
	"github.com/lovoo/goka/tester"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestContextsTravelFromRecordToRecord(t *testing.T) {
	tests := []struct {
		name    string
		headers map[string]string
		parent  string            // of the From_ span
		tags    map[string]any    // of the From_ span
		flags   string            // of the context in the next record
		baggage map[string]string // in the next record
	}{
		{"a context", map[string]string{"uber-trace-id": "a:b:0:1"}, "000000000000000b", nil, "1", nil},
		{"blanks around it", map[string]string{"uber-trace-id": " a:b:0:1\t"}, "000000000000000b", nil, "1", nil},
		{"baggage", map[string]string{"uber-trace-id": "a:b:0:1", "uberctx-k": "a b"}, "000000000000000b", nil, "1", map[string]string{"uberctx-k": "a+b"}},
		{"a name that HTTP does not take", map[string]string{"uber-trace-id": "a:b:0:1", "uberctx-user id": "x"}, "000000000000000b", map[string]any{"baggage.dropped": `"user id"`}, "1", nil},
		{"1 MB", map[string]string{"uber-trace-id": "a:b:0:1", "uberctx-k": strings.Repeat("x", 1_000_000)}, "000000000000000b", map[string]any{"baggage.dropped": `"k"`}, "1", nil},
		{"a debug id", map[string]string{"jaeger-debug-id": "x"}, "", map[string]any{"jaeger-debug-id": "x"}, "3", nil},
		{"baggage for a new trace", map[string]string{"jaeger-baggage": "a=1"}, "", nil, "1", map[string]string{"uberctx-a": "1"}},
		{"a malformed context", map[string]string{"uber-trace-id": "?", "uberctx-user id": "x"}, "", nil, "1", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tracer, recorder := tracingtest.NewTracer(t, "test")
			gt := tester.New(t)
			run(t, nil, graph(tracer, func(ctx goka.Context, msg any) { ctx.Emit("even-topic", "6", msg) }),
				goka.WithTester(gt), goka.WithProducerBuilder(gokatrace.ProducerBuilder(tracer, gt.ProducerBuilder())))
			written := gt.NewQueueTracker("even-topic")
			headers := goka.Headers{}
			for name, value := range tt.headers {
				headers[name] = []byte(value)
			}
			gt.Consume("number-topic", "", []byte("6"), tester.WithHeaders(headers))

			spans := recorder.Wait(t, 2)
			from, to := tracingtest.Named(t, spans, "From_number-topic"), tracingtest.Named(t, spans, "To_even-topic")
			assert.Equal(t, tt.parent, from.ParentID)
			for _, tag := range []string{"baggage.dropped", "jaeger-debug-id"} {
				assert.Equal(t, tt.tags[tag], from.Tags[tag], tag)
			}
			next, _, _, ok := written.NextRawWithHeaders()
			require.True(t, ok)
			want := goka.Headers{
				"uber-trace-id": []byte(to.TraceID + ":" + to.ID + ":" + from.ID + ":" + tt.flags),
				"traceparent":   []byte(to.Traceparent()),
			}
			for name, value := range tt.baggage {
				want[name] = []byte(value)
			}
			assert.Equal(t, want, next)
		})
	}
}
