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
		service, _ := resource.Resource().Attributes().Get("service.name")
		delete(process, "service.name")
		for _, scope := range resource.ScopeSpans().All() {
			for _, s := range scope.Spans().All() {
				span := fromOTLPSpan(s)
				span.Service, span.Process = service.AsString(), process
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
		TraceID:   plainID(s.TraceID().String()),
		ID:        plainID(s.SpanID().String()),
		ParentID:  plainID(s.ParentSpanID().String()),
		Operation: s.Name(),
		Start:     micros(s.StartTimestamp()),
		Duration:  duration(s.StartTimestamp(), s.EndTimestamp()),
		Tags:      attributes(s.Attributes()),
	}
	for _, l := range s.Links().All() {
		span.Links = append(span.Links, linkText("FOLLOWS_FROM", plainID(l.TraceID().String()), plainID(l.SpanID().String())))
	}
	for _, e := range s.Events().All() {
		fields := attributes(e.Attributes())
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

func attributes(m pcommon.Map) map[string]string {
	tags := make(map[string]string, m.Len())
	for key, value := range m.All() {
		switch value.Type() {
		case pcommon.ValueTypeBool:
			tags[key] = text(value.Bool())
		case pcommon.ValueTypeInt:
			tags[key] = text(value.Int())
		case pcommon.ValueTypeDouble:
			tags[key] = text(value.Double())
		case pcommon.ValueTypeBytes:
			tags[key] = text(value.Bytes().AsRaw())
		default: // lists and maps are shown as JSON
			tags[key] = text(value.AsString())
		}
	}
	return tags
}

func tagUnlessEmpty(tags map[string]string, key, value string) {
	if value != "" {
		tags[key] = text(value)
	}
}

func micros(t pcommon.Timestamp) int64 { return t.AsTime().UnixMicro() }

func duration(start, end pcommon.Timestamp) int64 {
	return end.AsTime().Sub(start.AsTime()).Microseconds()
}
