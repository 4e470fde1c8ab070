package tracingtest

import (
	"log/slog"
	"testing"
	"time"

	"fault-tolerant-tracing/tracing/propagation"

	"github.com/opentracing/opentracing-go"
	"github.com/uber/jaeger-client-go"
)

// Recorder keeps the spans that a tracer made by [NewTracer] has finished.
type Recorder struct {
	service  string
	reporter *jaeger.InMemoryReporter
}

// NewTracer returns a Jaeger tracer that samples everything and sends nothing,
// and the recorder of its finished spans. Its contexts travel as those of
// tracing.New do.
func NewTracer(t testing.TB, service string) (opentracing.Tracer, *Recorder) {
	t.Helper()
	r := &Recorder{service: service, reporter: jaeger.NewInMemoryReporter()}
	propagator := propagation.New(slog.New(slog.DiscardHandler))
	tracer, closer := jaeger.NewTracer(service, jaeger.NewConstSampler(true), propagator.Reporter(r.reporter),
		jaeger.TracerOptions.Injector(opentracing.HTTPHeaders, propagator), jaeger.TracerOptions.Extractor(opentracing.HTTPHeaders, propagator))
	t.Cleanup(func() { _ = closer.Close() })
	return tracer, r
}

// Spans returns the spans finished so far, in the order in which they finished.
func (r *Recorder) Spans() []Span {
	var spans []Span
	for _, s := range r.reporter.GetSpans() {
		spans = append(spans, newSpan(r.service, jaeger.BuildJaegerThrift(s.(*jaeger.Span))))
	}
	return spans
}

// Wait returns the spans finished so far as soon as there are at least so many,
// and fails the test when that takes longer than a minute.
func (r *Recorder) Wait(t testing.TB, atLeast int) []Span {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		spans := r.Spans()
		if len(spans) >= atLeast {
			return spans
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of at least %d spans after %s", len(spans), atLeast, patience)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
