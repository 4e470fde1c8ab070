// Package httptrace traces HTTP on both sides: a middleware for servers that
// route with chi, and a RoundTripper for clients, both on opentracing-contrib's
// nethttp.
//
// A client's request gives two spans, "POST /random" and, below it, nethttp's
// own "HTTP POST", whose context travels in the request's headers uber-trace-id
// and, for OpenTelemetry, traceparent: see package propagation. The server's span
// "POST /random" is a child of that. A context that is missing or malformed starts
// a new trace and never fails a request. Nor does baggage, of which that package
// tells how much travels.
package httptrace

import (
	"net/http"
	"net/url"

	"github.com/go-chi/chi/v5"
	"github.com/opentracing-contrib/go-stdlib/nethttp"
	"github.com/opentracing/opentracing-go"
)

// Middleware traces each request that passes through it. The span is named by
// method and route pattern ("GET /users/{id}"), or by the method alone if no
// route matches; it carries the status code, and error=true from 500 on or after
// a panic, which goes on. The handler finds it in the request's context.
func Middleware(tracer opentracing.Tracer) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		named := func(w http.ResponseWriter, r *http.Request) {
			defer func() { // chi knows the pattern only now
				opentracing.SpanFromContext(r.Context()).SetOperationName(operation(r))
			}()
			next.ServeHTTP(w, r)
		}
		return nethttp.MiddlewareFunc(tracer, named, nethttp.MWURLTagFunc((*url.URL).Redacted))
	}
}

func operation(r *http.Request) string {
	route := chi.RouteContext(r.Context())
	if route == nil || route.RoutePattern() == "" {
		return r.Method
	}
	return r.Method + " " + route.RoutePattern()
}
