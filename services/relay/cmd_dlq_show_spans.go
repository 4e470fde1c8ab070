package main

import (
	"encoding/hex"
	"fmt"
	"io"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"fault-tolerant-tracing/services/internal/printable"
)

// writeSpans prints spans for people.
func writeSpans(w io.Writer, traces ptrace.Traces) {
	for _, r := range traces.ResourceSpans().All() {
		fmt.Fprintln(w, "resource")
		writeAttributes(w, "  ", r.Resource().Attributes())
		for _, scope := range r.ScopeSpans().All() {
			if name := scope.Scope().Name(); name != "" {
				fmt.Fprintf(w, "scope      %s %s\n", printable.Line(name), printable.Line(scope.Scope().Version()))
			}
			for _, s := range scope.Spans().All() {
				writeSpan(w, s)
			}
		}
	}
}

func writeSpan(w io.Writer, s ptrace.Span) {
	fmt.Fprintf(w, "\n%s\n  trace %s, span %s, flags %d\n  %s, %s, %s\n", printable.Line(s.Name()), s.TraceID(), s.SpanID(), s.Flags(),
		local(s.StartTimestamp()), s.EndTimestamp().AsTime().Sub(s.StartTimestamp().AsTime()), s.Kind())
	if !s.ParentSpanID().IsEmpty() {
		fmt.Fprintf(w, "  child of span %s\n", s.ParentSpanID())
	}
	if status := s.Status(); status.Code() != ptrace.StatusCodeUnset {
		fmt.Fprintf(w, "  status %s %s\n", status.Code(), printable.Line(status.Message()))
	}
	writeAttributes(w, "    ", s.Attributes())
	for _, link := range s.Links().All() {
		fmt.Fprintf(w, "  link to trace %s, span %s\n", link.TraceID(), link.SpanID())
		writeAttributes(w, "    ", link.Attributes())
	}
	for _, event := range s.Events().All() {
		fmt.Fprintf(w, "  event %s %s\n", local(event.Timestamp()), printable.Line(event.Name()))
		writeAttributes(w, "    ", event.Attributes())
	}
}

func writeAttributes(w io.Writer, indent string, attributes pcommon.Map) {
	for key, value := range attributes.All() {
		text := value.AsString()
		if value.Type() == pcommon.ValueTypeBytes {
			text = hex.EncodeToString(value.Bytes().AsRaw())
		}
		fmt.Fprintf(w, "%s%s=%s\n", indent, printable.Line(key), printable.Line(text))
	}
}

func local(t pcommon.Timestamp) string {
	return t.AsTime().Local().Format("2006-01-02 15:04:05.000000 -0700")
}
