package httptrace_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"fault-tolerant-tracing/tracing/httptrace"

	"github.com/go-chi/chi/v5"
	"github.com/opentracing/opentracing-go"
	"github.com/opentracing/opentracing-go/mocktracer"
)

// A client calls a server; both would have a tracer of package tracing.
func Example() {
	tracer := mocktracer.New()

	router := chi.NewRouter()
	router.Use(httptrace.Middleware(tracer))
	router.Post("/random", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	server := httptest.NewServer(router)

	span := tracer.StartSpan("From_even-topic")
	request := httptest.NewRequest(http.MethodPost, server.URL+"/random", nil)
	request = request.WithContext(opentracing.ContextWithSpan(request.Context(), span))
	transport := new(http.Transport)
	response, err := httptrace.RoundTripper(tracer, transport).RoundTrip(request)
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = response.Body.Close()
	span.Finish()
	transport.CloseIdleConnections()
	server.Close()

	names := map[int]string{}
	for _, s := range tracer.FinishedSpans() {
		names[s.SpanContext.SpanID] = s.OperationName
	}
	for _, s := range tracer.FinishedSpans() {
		if s.ParentID != 0 {
			fmt.Println(s.Tag("span.kind"), s.OperationName, "below", names[s.ParentID])
		}
	}
	// Unordered output:
	// server POST /random below HTTP POST
	// client HTTP POST below POST /random
	// client POST /random below From_even-topic
}
