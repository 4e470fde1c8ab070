package verdict

import (
	"slices"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// fromOTLP returns the spans of an OpenTelemetry client, the way Jaeger shows them: what is a field in OTLP and no field in Jaeger
// is a tag there.
func fromOTLP(traces ptrace.Traces) []Span {
	var spans []Span
	for _, resource := range traces.ResourceSpans().All() {
		process := attributes(resource.Resource().Attributes())
		if name, ok := resource.Resource().Attributes().Get("service.name"); ok && name.Type() != pcommon.ValueTypeStr {
			process["service.name"] = "" // no text
		}
		service := serviceShown(process)
		for _, scope := range resource.ScopeSpans().All() {
			for _, s := range scope.Spans().All() {
				span := fromOTLPSpan(s)
				span.Service, span.Process = service, process
				tagUnlessEmpty(span.Tags, "otel.scope.name", scope.Scope().Name())
				tagUnlessEmpty(span.Tags, "otel.scope.version", scope.Scope().Version())
				spans = append(spans, span)
			}
		}
	}
	return spans
}

func fromOTLPSpan(s ptrace.Span) Span {
	span := Span{
		TraceID:  plainID(s.TraceID().String()),
		ID:       plainID(s.SpanID().String()),
		ParentID: plainID(s.ParentSpanID().String()),
		Start:    micros(s.StartTimestamp()),
		Duration: duration(s.StartTimestamp(), s.EndTimestamp()),
		Tags:     attributes(s.Attributes()),
	}
	span.named(s.Name())
	for _, l := range s.Links().All() {
		span.Links = append(span.Links, linkText("FOLLOWS_FROM", plainID(l.TraceID().String()), plainID(l.SpanID().String())))
	}
	span.parentShown()
	for _, e := range s.Events().All() {
		fields := fields(e.Attributes())
		tagUnlessEmpty(fields, "event", e.Name())
		span.Logs = append(span.Logs, Log{Time: micros(e.Timestamp()), Fields: fields})
	}
	slices.SortStableFunc(span.Logs, byTime)

	if kind, ok := kinds[s.Kind()]; ok {
		span.Tags["span.kind"] = text(kind)
	}
	switch s.Status().Code() {
	case ptrace.StatusCodeError:
		span.Tags["error"] = text(true)
		span.Tags["otel.status_code"] = text("ERROR")
	case ptrace.StatusCodeOk:
		span.Tags["otel.status_code"] = text("OK")
	}
	tagUnlessEmpty(span.Tags, "otel.status_description", s.Status().Message())
	tagUnlessEmpty(span.Tags, "w3c.tracestate", s.TraceState().AsRaw())
	return span
}

var kinds = map[ptrace.SpanKind]string{
	ptrace.SpanKindInternal: "internal",
	ptrace.SpanKindServer:   "server",
	ptrace.SpanKindClient:   "client",
	ptrace.SpanKindProducer: "producer",
	ptrace.SpanKindConsumer: "consumer",
}

// isKind tells whether a tag is that of a kind.
func isKind(tag string) bool {
	for _, kind := range kinds {
		if tag == text(kind) {
			return true
		}
	}
	return false
}

// attributes are those of a resource or a span.
func attributes(m pcommon.Map) map[string]string {
	tags := make(map[string]string, m.Len())
	for key, value := range m.All() {
		showTag(tags, key, valueOf(value))
	}
	return tags
}

// fields are the attributes of an event.
func fields(m pcommon.Map) map[string]string {
	tags := make(map[string]string, m.Len())
	for key, value := range m.All() {
		showField(tags, key, valueOf(value))
	}
	return tags
}

func valueOf(value pcommon.Value) any {
	switch value.Type() {
	case pcommon.ValueTypeBool:
		return value.Bool()
	case pcommon.ValueTypeInt:
		return value.Int()
	case pcommon.ValueTypeDouble:
		return value.Double()
	case pcommon.ValueTypeBytes:
		return value.Bytes().AsRaw()
	default: // lists and maps are shown as JSON
		return value.AsString()
	}
}

// tagUnlessEmpty adds a field of OTLP that is a tag in Jaeger.
func tagUnlessEmpty(tags map[string]string, key, value string) {
	if value != "" {
		tags[key] = text(plainText(value))
	}
}

// micros is a time as Jaeger shows it: what is less than a microsecond is cut off, of one before 1970 too.
func micros(t pcommon.Timestamp) int64 { return int64(t) / 1000 }

// duration is 0 where the end is before the start: Jaeger moves it there.
func duration(start, end pcommon.Timestamp) int64 {
	return max(0, end.AsTime().Sub(start.AsTime()).Microseconds())
}
