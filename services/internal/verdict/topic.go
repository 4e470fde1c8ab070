package verdict

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	thrift "github.com/uber/jaeger-client-go/thrift-gen/jaeger"

	"fault-tolerant-tracing/services/internal/payload"
	"fault-tolerant-tracing/tracing/batch"
)

// fromTopic returns every span in a record of tracing-topic, those of Jaeger's clients and those of OpenTelemetry's, the way Jaeger
// shows such a span: with the changes that its collector makes on purpose (see asJaegerShows, processShown and fromOTLP). The
// sampling flags are left out, Jaeger does not keep them. The spans share the map of their process.
func fromTopic(value []byte) (spans []Span, err error) {
	parsed, err := payload.Parse(value)
	if err != nil {
		return nil, err
	}
	if _, thrift := parsed.Thrift(); !thrift {
		traces, err := parsed.Decode()
		if err != nil {
			return nil, err
		}
		return fromOTLP(traces), nil
	}
	b, err := batch.Decode(value)
	if err != nil {
		return nil, err
	}
	process := processShown(thriftTags(b.Process.Tags))
	for _, s := range b.Spans {
		span := asJaegerShows(fromThrift(s))
		span.Service, span.Process = b.Process.ServiceName, process
		spans = append(spans, span)
	}
	return spans, nil
}

func fromThrift(s *thrift.Span) Span {
	span := Span{
		TraceID:   idOf(s.TraceIdHigh, s.TraceIdLow),
		ID:        idOf(0, s.SpanId),
		ParentID:  idOf(0, s.ParentSpanId),
		Operation: s.OperationName,
		Start:     s.StartTime,
		Duration:  s.Duration,
		Tags:      thriftTags(s.Tags),
	}
	for _, ref := range s.References {
		id, child := idOf(0, ref.SpanId), ref.RefType == thrift.SpanRefType_CHILD_OF
		if child && span.ParentID == "" && idOf(ref.TraceIdHigh, ref.TraceIdLow) == span.TraceID {
			span.ParentID = id
		}
		if !child || id != span.ParentID {
			span.Links = append(span.Links, linkText(ref.RefType.String(), idOf(ref.TraceIdHigh, ref.TraceIdLow), id))
		}
	}
	for _, l := range s.Logs {
		span.Logs = append(span.Logs, Log{Time: l.Timestamp, Fields: thriftTags(l.Fields)})
	}
	slices.SortStableFunc(span.Logs, byTime)
	return span
}

// processShown applies what Jaeger changes on purpose in the tags of a process: two get the names that OpenTelemetry has for them.
func processShown(tags map[string]string) map[string]string {
	if v, ok := tags["hostname"]; ok {
		delete(tags, "hostname")
		tags["host.name"] = v
	}
	if v, ok := tags["jaeger.version"]; ok {
		delete(tags, "jaeger.version")
		tags["opencensus.exporterversion"] = text("Jaeger-" + strings.TrimPrefix(v, "string "))
	}
	return tags
}

// asJaegerShows applies what Jaeger changes on purpose when it takes a span: an error is told a second time as a status code.
func asJaegerShows(s Span) Span {
	if s.Tags["error"] == text(true) || failedCall(s.Tags) {
		s.Tags["error"] = text(true)
		s.Tags["otel.status_code"] = text("ERROR")
	}
	return s
}

// failedCall tells whether the tags are those of an HTTP call that Jaeger takes for a failed one.
func failedCall(tags map[string]string) bool {
	code, ok := tags["http.status_code"]
	if !ok {
		return false
	}
	lowest := text(int64(500))
	if tags["span.kind"] == text("client") {
		lowest = text(int64(400)) // a server is not to blame for what it was asked
	}
	return len(code) == len(lowest) && code >= lowest
}

func thriftTags(tags []*thrift.Tag) map[string]string {
	m := make(map[string]string, len(tags))
	for _, t := range tags {
		switch t.VType {
		case thrift.TagType_STRING:
			m[t.Key] = text(t.GetVStr())
		case thrift.TagType_BOOL:
			m[t.Key] = text(t.GetVBool())
		case thrift.TagType_LONG:
			m[t.Key] = text(t.GetVLong())
		case thrift.TagType_DOUBLE:
			m[t.Key] = text(t.GetVDouble())
		case thrift.TagType_BINARY:
			m[t.Key] = text(t.GetVBinary())
		}
	}
	return m
}

// idOf writes the id of a trace or span as [Span] has it; "" for none.
func idOf(high, low int64) string {
	if high == 0 {
		return plainID(strconv.FormatUint(uint64(low), 16))
	}
	return plainID(fmt.Sprintf("%x%016x", uint64(high), uint64(low)))
}
