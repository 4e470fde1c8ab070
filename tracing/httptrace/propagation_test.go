package httptrace_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"fault-tolerant-tracing/tracing/httptrace"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/opentracing/opentracing-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestContextsTravelFromRequestToRequest(t *testing.T) {
	tests := []struct {
		name    string
		headers map[string]string
		parent  string            // of the server's span
		tags    map[string]any    // of the server's span
		flags   string            // of the context in the next request
		baggage map[string]string // in the next request
	}{
		{"a context", map[string]string{"Uber-Trace-Id": "a:b:0:1"}, "000000000000000b", nil, "1", nil},
		{"baggage", map[string]string{"Uber-Trace-Id": "a:b:0:1", "Uberctx-K": "a+b"}, "000000000000000b", nil, "1", map[string]string{"Uberctx-K": "a+b"}},
		{"100 kB", map[string]string{"Uber-Trace-Id": "a:b:0:1", "Uberctx-K": strings.Repeat("x", 100_000)}, "000000000000000b", map[string]any{"baggage.dropped": `"k"`}, "1", nil},
		{"a debug id", map[string]string{"Jaeger-Debug-Id": "x"}, "", map[string]any{"jaeger-debug-id": "x"}, "3", nil},
		{"baggage for a new trace", map[string]string{"Jaeger-Baggage": "a=1"}, "", nil, "1", map[string]string{"Uberctx-A": "1"}},
		{"a name that no header can have", map[string]string{"Jaeger-Baggage": "user id=1"}, "", map[string]any{"baggage.dropped": `"user id"`}, "1", nil},
		{"a malformed context", map[string]string{"Uber-Trace-Id": "?", "Uberctx-K": "x"}, "", nil, "1", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tracer, recorder := tracingtest.NewTracer(t, "test")
			var next http.Header // as the server after the next has it
			last := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { next = r.Header }))
			t.Cleanup(last.Close)
			client := newClient(t, tracer)
			server := httptest.NewServer(httptrace.Middleware(tracer)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				res, err := client.Do(newRequest(t, opentracing.ContextWithSpan(t.Context(), opentracing.SpanFromContext(r.Context())), http.MethodPost, last.URL))
				if assert.NoError(t, err) {
					assert.NoError(t, res.Body.Close())
				}
			})))
			t.Cleanup(server.Close)
			req := newRequest(t, t.Context(), http.MethodPut, server.URL)
			for name, value := range tt.headers {
				req.Header.Set(name, value)
			}
			res, err := server.Client().Do(req)
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())

			spans := recorder.Wait(t, 3)
			served, sent := tracingtest.Named(t, spans, "PUT"), tracingtest.Named(t, spans, "HTTP POST")
			assert.Equal(t, tt.parent, served.ParentID)
			for _, tag := range []string{"baggage.dropped", "jaeger-debug-id"} {
				assert.Equal(t, tt.tags[tag], served.Tags[tag], tag)
			}
			got := map[string]string{}
			for name := range next {
				if strings.HasPrefix(name, "Uber") || strings.HasPrefix(name, "Trace") {
					got[name] = next.Get(name)
				}
			}
			want := map[string]string{
				"Uber-Trace-Id": sent.TraceID + ":" + sent.ID + ":" + sent.ParentID + ":" + tt.flags,
				"Traceparent":   sent.Traceparent(),
			}
			for name, value := range tt.baggage {
				want[name] = value
			}
			assert.Equal(t, want, got)
		})
	}
}
