package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"

	"fault-tolerant-tracing/tracing/httptrace"

	"github.com/go-chi/chi/v5"
	"github.com/opentracing/opentracing-go"
)

// routes adds POST /random, traced.
func routes(tracer opentracing.Tracer) func(chi.Router) {
	return func(r chi.Router) {
		r.With(httptrace.Middleware(tracer)).Post("/random", draw)
	}
}

// draw answers with a number from 0 to 9, each as likely as the others.
func draw(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		refuse(w, err)
		return
	}
	number := rand.IntN(10)
	if span := opentracing.SpanFromContext(r.Context()); span != nil {
		span.SetTag("random.number", number)
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"number":%d}`, number)
}

// refuse answers a request whose body could not be read.
func refuse(w http.ResponseWriter, err error) {
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		http.Error(w, fmt.Sprintf("The body may have %d bytes at most.", tooLarge.Limit), http.StatusRequestEntityTooLarge)
		return
	}
	http.Error(w, "The body could not be read: "+err.Error()+".", http.StatusBadRequest)
}
