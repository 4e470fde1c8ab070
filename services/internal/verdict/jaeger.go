package verdict

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"fault-tolerant-tracing/services/internal/jaeger"
)

// FromJaeger returns the spans of a trace that Jaeger's query API gave, duplicates included.
func FromJaeger(trace *jaeger.Trace) []Span {
	spans := make([]Span, 0, len(trace.Spans))
	for _, s := range trace.Spans {
		span := Span{
			TraceID:   plainID(s.TraceID),
			ID:        plainID(s.SpanID),
			Service:   s.Process.ServiceName,
			Operation: s.OperationName,
			Start:     int64(s.StartMicros),
			Duration:  int64(s.DurationMicros),
			Tags:      jaegerTags(s.Tags),
			Process:   jaegerTags(s.Process.Tags),
		}
		for _, ref := range s.References {
			own := plainID(ref.TraceID) == span.TraceID
			if ref.RefType == jaeger.ChildOf && own && span.ParentID == "" {
				span.ParentID = plainID(ref.SpanID)
				continue
			}
			span.Links = append(span.Links, linkText(ref.RefType, plainID(ref.TraceID), plainID(ref.SpanID)))
		}
		for _, l := range s.Logs {
			span.Logs = append(span.Logs, Log{Time: int64(l.TimestampMicros), Fields: jaegerTags(l.Fields)})
		}
		slices.SortStableFunc(span.Logs, byTime)
		spans = append(spans, span)
	}
	return spans
}

func jaegerTags(tags []jaeger.Tag) map[string]string {
	m := make(map[string]string, len(tags))
	for _, t := range tags {
		key, value := t.Key, text(t.Value)
		if strings.HasPrefix(key, invalidTagKey) {
			key = invalidKey(value)
		}
		m[key] = value
	}
	return m
}

// text writes a tag's value with its type.
func text(value any) string {
	if raw, ok := value.([]byte); ok {
		return fmt.Sprintf("binary %x", raw)
	}
	return fmt.Sprintf("%T %v", value, value)
}

func linkText(refType, trace, span string) string { return refType + " " + trace + "/" + span }

func byTime(a, b Log) int { return cmp.Compare(a.Time, b.Time) }
