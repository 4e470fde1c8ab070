package tracingtest

import (
	"log/slog"
	"strings"
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

// Headers are seeds for fuzz tests of what carries a context: lines of a name, = and a value, some of them hostile.
var Headers = []string{
	"", "uber-trace-id=a:b:0:1", "uber-trace-id=a:b:0:b", "uber-trace-id=a:b:0:16", "Uber-Trace-Id=a%3Ab%3A0%3A1\nuber-trace-id=?\nother=1",
	"uber-trace-id=a:b:0:1\nuberctx-user id=x\nuberctx-k=a+b%20c\nUBERCTX-K=2\nuberctx-baggage.dropped=x",
	"uber-trace-id=?\nuberctx-k=1\nUberctx-=\njaeger-baggage=a=1",
	"jaeger-debug-id=x\njaeger-baggage=a=1, b = 2,=,c", "uberctx-k=" + strings.Repeat("x", propagation.MaxBaggageBytes),
	"traceparent=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\ntracestate=a=1,b=2\ntracestate=c=3",
	"traceparent=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\ntracestate=a=1,b=2\nTracestate=c=3",
	"uber-trace-id=a:b:0:1\ntraceparent=00-0000000000000000000000000000000a-b7ad6b7169203331-00\ntracestate=\xff",
}

// Baggage returns what of a context's baggage travels.
func Baggage(sc jaeger.SpanContext) map[string]string {
	items := map[string]string{}
	sc.ForeachBaggageItem(func(name, value string) bool {
		if name != propagation.DroppedTag {
			items[name] = value
		}
		return true
	})
	return items
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
