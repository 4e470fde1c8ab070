// Package propagation decides what of a span's context travels in headers, of
// HTTP requests and of Kafka records alike: one rule, so that what one of them
// carries the other one carries too.
//
// The context itself always travels, for tracers of both kinds: in jaeger-client's
// uber-trace-id and in the traceparent of W3C Trace Context, which OpenTelemetry
// writes and reads. Of the two that come, uber-trace-id counts; traceparent does
// where that is missing or malformed. A malformed traceparent counts as missing.
// tracestate is passed on as it came, up to 512 bytes of whole members, if it
// belongs to the trace and a header may have it.
//
// A baggage item travels if its name is valid in HTTP and there is room for it in
// [MaxBaggageBytes]. What does not travel must not fail the request or record it
// would go with: it is dropped, counted, logged, and named in the tag [DroppedTag]
// of the spans whose context it belongs to.
//
// All other headers are those of jaeger-client, jaeger-debug-id and jaeger-baggage
// included. Names of baggage items are read in lower case, as the case of a
// header's name means nothing in HTTP. What an older context left in any of these
// headers is removed when one is written.
package propagation

import (
	"log/slog"
	"maps"
	"net/url"
	"strconv"
	"strings"

	"github.com/opentracing/opentracing-go"
	"github.com/uber/jaeger-client-go"
)

// Propagator writes contexts to headers and reads them. It is a jaeger.Injector
// and a jaeger.Extractor for the format opentracing.HTTPHeaders, and safe for
// several goroutines.
type Propagator struct {
	extractor             jaeger.Extractor
	invalidName, tooLarge drops
}

// New makes a propagator. It logs at most one line a minute for each reason to
// drop baggage.
func New(log *slog.Logger) *Propagator {
	return &Propagator{
		extractor:   jaeger.NewHTTPHeaderPropagator(new(jaeger.HeadersConfig).ApplyDefaults(), *jaeger.NewNullMetrics()),
		invalidName: newDrops(log, "its name is no valid name of an HTTP header"),
		tooLarge:    newDrops(log, "baggage is too large"),
	}
}

// Inject implements jaeger.Injector.
func (p *Propagator) Inject(sc jaeger.SpanContext, carrier any) error {
	w, ok := carrier.(opentracing.TextMapWriter)
	if !ok {
		return opentracing.ErrInvalidCarrier
	}
	erase(w)
	w.Set(jaeger.TraceContextHeaderName, sc.String())
	if sc.IsValid() {
		w.Set(traceparentHeader, formatParent(sc))
		if state := stateOf(sc, ""); state != "" {
			w.Set(tracestateHeader, state)
		}
	}
	for name, value := range p.limit(baggageOf(sc)).travels {
		w.Set(jaeger.TraceBaggageHeaderPrefix+name, url.QueryEscape(value))
	}
	return nil
}

// erase removes an older context, with its baggage, from a carrier that may have one.
func erase(w opentracing.TextMapWriter) {
	switch w := w.(type) {
	case opentracing.HTTPHeadersCarrier:
		maps.DeleteFunc(w, func(name string, _ []string) bool { return isContextHeader(name) })
	case opentracing.TextMapCarrier:
		maps.DeleteFunc(w, func(name, _ string) bool { return isContextHeader(name) })
	case interface{ DeleteFunc(func(name string) bool) }:
		w.DeleteFunc(isContextHeader)
	}
}

func isContextHeader(name string) bool {
	switch name = strings.ToLower(name); name {
	case jaeger.TraceContextHeaderName, traceparentHeader, tracestateHeader, jaeger.JaegerDebugHeader, jaeger.JaegerBaggageHeader:
		return true
	}
	return strings.HasPrefix(name, jaeger.TraceBaggageHeaderPrefix)
}

// Extract implements jaeger.Extractor. A context without a span may come with
// baggage or a debug id, both for the trace that starts with it.
func (p *Propagator) Extract(carrier any) (jaeger.SpanContext, error) {
	r, ok := carrier.(opentracing.TextMapReader)
	if !ok {
		return jaeger.SpanContext{}, opentracing.ErrInvalidCarrier
	}
	headers := reader{TextMapReader: r, p: p}
	sc, err := p.extractor.Extract(&headers)
	switch {
	case err != nil:
		return sc, err
	case sc.TraceID().IsValid() && sc.SpanID() == 0:
		return jaeger.SpanContext{}, opentracing.ErrSpanContextCorrupted
	case headers.parent.IsValid() && headers.parent.TraceID() == sc.TraceID():
		stateOf(sc, limitState(headers.state))
	}
	return sc, nil
}

// Dropped returns how many baggage items were dropped so far, each time they were.
func (p *Propagator) Dropped() Dropped {
	return Dropped{InvalidName: p.invalidName.count.Load(), TooLarge: p.tooLarge.count.Load()}
}

// Reporter returns next with the tag [DroppedTag] on the spans whose context has
// lost baggage, or would lose it on its way to another process.
func (p *Propagator) Reporter(next jaeger.Reporter) jaeger.Reporter { return reporter{next} }

type reporter struct{ jaeger.Reporter }

func (r reporter) Report(span *jaeger.Span) {
	if names := divide(baggageOf(span.SpanContext())).names(); names != "" {
		span.SetTag(DroppedTag, names)
	}
	r.Reporter.Report(span)
}

// limit divides baggage, and counts and logs what does not travel.
func (p *Propagator) limit(baggage map[string]string) division {
	d := divide(baggage)
	p.invalidName.add(d.invalidName)
	p.tooLarge.add(d.tooLarge)
	return d
}

// reader shows jaeger-client the headers of a context without what does not
// travel, and without blanks around the values that it would take for malformed.
// The context of a traceparent it shows as an uber-trace-id.
type reader struct {
	opentracing.TextMapReader
	p *Propagator

	parent jaeger.SpanContext // in traceparent; not valid: there is none
	state  string             // in tracestate
}

func (r *reader) ForeachKey(handler func(key, value string) error) error {
	var context, parent, debugID string
	baggage := map[string]string{}
	err := r.TextMapReader.ForeachKey(func(key, value string) error {
		key = strings.ToLower(key)
		name, isItem := strings.CutPrefix(key, jaeger.TraceBaggageHeaderPrefix)
		switch {
		case isItem && name != DroppedTag:
			baggage[name] = unescape(value)
		case key == jaeger.TraceContextHeaderName:
			context = decimalFlags(unescape(strings.TrimSpace(value)))
		case key == traceparentHeader:
			parent = join(parent, value)
		case key == tracestateHeader:
			r.state = join(r.state, value)
		case key == jaeger.JaegerDebugHeader:
			debugID = strings.TrimSpace(value)
		case key == jaeger.JaegerBaggageHeader: // k1=v1, k2=v2
			for pair := range strings.SplitSeq(unescape(value), ",") {
				if name, value, ok := strings.Cut(strings.TrimSpace(pair), "="); ok {
					baggage[strings.ToLower(strings.TrimSpace(name))] = value
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if r.parent = parseParent(parent); r.parent.IsValid() && !isContext(context) {
		context = r.parent.String()
	}
	if context != "" {
		if err := handler(jaeger.TraceContextHeaderName, context); err != nil {
			return err
		}
	}
	if debugID != "" {
		if err := handler(jaeger.JaegerDebugHeader, debugID); err != nil {
			return err
		}
	}
	d := r.p.limit(baggage)
	if names := d.names(); names != "" {
		d.travels[DroppedTag] = names // no further than this process
	}
	for name, value := range d.travels {
		if err := handler(jaeger.TraceBaggageHeaderPrefix+name, url.QueryEscape(value)); err != nil {
			return err
		}
	}
	return nil
}

// join makes one value of those of several headers of one name, as HTTP has it.
// For traceparent, which has no lists, that is a malformed one.
func join(values, next string) string {
	next = strings.TrimSpace(next)
	if values == "" {
		return next
	}
	return values + "," + next
}

// isContext tells whether an uber-trace-id is a valid context.
func isContext(value string) bool {
	sc, err := jaeger.ContextFromString(value)
	return err == nil && sc.IsValid()
}

// decimalFlags returns an uber-trace-id with its flags in decimal, as jaeger-client reads
// them. It writes them in hexadecimal, and takes b, all three of them, for malformed.
func decimalFlags(context string) string {
	flags := strings.LastIndex(context, ":") + 1
	if bits, err := strconv.ParseUint(context[flags:], 16, 8); err == nil {
		return context[:flags] + strconv.FormatUint(bits, 10)
	}
	return context
}

// unescape returns a value that is not URL-encoded as it is.
func unescape(value string) string {
	if plain, err := url.QueryUnescape(value); err == nil {
		return plain
	}
	return value
}

func baggageOf(sc jaeger.SpanContext) map[string]string {
	baggage := map[string]string{}
	sc.ForeachBaggageItem(func(name, value string) bool {
		baggage[name] = value
		return true
	})
	return baggage
}
