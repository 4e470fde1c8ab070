package httptrace_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"fault-tolerant-tracing/tracing/httptrace"
	"fault-tolerant-tracing/tracing/propagation"

	"github.com/opentracing/opentracing-go"
	"github.com/stretchr/testify/require"
	"github.com/uber/jaeger-client-go"
	"golang.org/x/net/http/httpguts"
)

// Whatever headers a request has, it is served, and so is the one that it causes: in
// the same trace, with headers that net/http sends.
func FuzzHeaders(f *testing.F) {
	for _, headers := range []string{
		"", "Uber-Trace-Id=a:b:0:1", "Uber-Trace-Id=a%3Ab%3A0%3A1\nUber-Trace-Id=?\nOther=1",
		"Uber-Trace-Id=a:b:0:1\nUberctx-user id=x\nUberctx-K=a+b%20c\nUberctx-k=%0d%0aX: 1\nUberctx-Baggage.dropped=x",
		"Jaeger-Debug-Id=x\nJaeger-Baggage=a=1, b = 2,=,c", "Uberctx-K=" + strings.Repeat("x", propagation.MaxBaggageBytes),
		"Traceparent=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\nTracestate=a=1,b=2\nTracestate=c=3",
		"Uber-Trace-Id=a:b:0:1\nTraceparent=00-0000000000000000000000000000000a-b7ad6b7169203331-00\nTracestate=\xff",
	} {
		f.Add(headers)
	}
	propagator := propagation.New(slog.New(slog.DiscardHandler))
	tracer, closer := jaeger.NewTracer("test", jaeger.NewConstSampler(true), jaeger.NewNullReporter(),
		jaeger.TracerOptions.Injector(opentracing.HTTPHeaders, propagator), jaeger.TracerOptions.Extractor(opentracing.HTTPHeaders, propagator))
	f.Cleanup(func() { _ = closer.Close() })
	f.Fuzz(func(t *testing.T, headers string) {
		var trace, next string
		client := http.Client{Transport: httptrace.RoundTripper(tracer, transport(func(r *http.Request) {
			for name, values := range r.Header {
				require.True(t, httpguts.ValidHeaderFieldName(name), "%q", name)
				for _, value := range values {
					require.True(t, httpguts.ValidHeaderFieldValue(value), "%s: %q", name, value)
				}
			}
			next, _, _ = strings.Cut(r.Header.Get("Uber-Trace-Id"), ":")
		}))}
		served := httptrace.Middleware(tracer)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			span := opentracing.SpanFromContext(r.Context())
			trace = span.Context().(jaeger.SpanContext).TraceID().String()
			res, err := client.Do(newRequest(t, opentracing.ContextWithSpan(t.Context(), span), http.MethodPost, "http://next/"))
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
		}))
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		for line := range strings.SplitSeq(headers, "\n") {
			name, value, _ := strings.Cut(line, "=")
			r.Header[name] = append(r.Header[name], value)
		}
		w := httptest.NewRecorder()
		served.ServeHTTP(w, r)
		require.Equal(t, http.StatusOK, w.Code)
		require.NotEmpty(t, trace)
		require.Equal(t, trace, next)
	})
}

// transport answers each request with 200, after it has looked at it.
type transport func(*http.Request)

// RoundTrip implements http.RoundTripper.
func (look transport) RoundTrip(r *http.Request) (*http.Response, error) {
	look(r)
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
}
