package verdict

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	protocol "github.com/uber/jaeger-client-go/thrift"
	thrift "github.com/uber/jaeger-client-go/thrift-gen/jaeger"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// FromTopic returns every span in a record of tracing-topic, those of Jaeger's clients and those of OpenTelemetry's, the way Jaeger
// shows such a span: with the changes that its collector makes on purpose (see asJaegerShows, processShown and fromOTLP). The
// sampling flags are left out, Jaeger does not keep them. The spans share the map of their process.
//
// It reads with the code that the clients' own libraries bring along, and none that carries spans here.
func FromTopic(value []byte) (spans []Span, err error) {
	if batch, err := thriftBatch(value); err == nil {
		return fromBatch(batch), nil
	}
	var traces ptrace.Traces
	if json.Valid(value) {
		traces, err = new(ptrace.JSONUnmarshaler).UnmarshalTraces(value)
	} else {
		traces, err = new(ptrace.ProtoUnmarshaler).UnmarshalTraces(value)
	}
	if err != nil || traces.ResourceSpans().Len() == 0 {
		return nil, errors.New("no batch of spans")
	}
	return fromOTLP(traces), nil
}

// thriftBatch reads a batch that is all of a value.
func thriftBatch(value []byte) (*thrift.Batch, error) {
	buffer := &protocol.TMemoryBuffer{Buffer: bytes.NewBuffer(value)}
	batch := thrift.NewBatch()
	if err := batch.Read(context.Background(), bounded{protocol.NewTBinaryProtocolConf(buffer, nil), buffer}); err != nil {
		return nil, err
	}
	if buffer.Len() > 0 {
		return nil, errors.New("something is behind it")
	}
	return batch, nil
}

// bounded refuses a list that claims to be longer than what is left, for which the library would make room.
type bounded struct {
	protocol.TProtocol
	left *protocol.TMemoryBuffer
}

func (b bounded) ReadListBegin(ctx context.Context) (protocol.TType, int, error) {
	element, size, err := b.TProtocol.ReadListBegin(ctx)
	if err == nil && size > b.left.Len() {
		err = fmt.Errorf("a list of %d in %d bytes", size, b.left.Len())
	}
	return element, size, err
}

func fromBatch(batch *thrift.Batch) (spans []Span) {
	process := processShown(thriftTags(batch.Process.Tags))
	if name := batch.Process.ServiceName; name != "" {
		showTag(process, "service.name", name)
	}
	service := serviceShown(process)
	for _, s := range batch.Spans {
		span := asJaegerShows(fromThrift(s))
		span.Service, span.Process = service, process
		spans = append(spans, span)
	}
	return spans
}

// plainText is a text as JSON shows it: what is no UTF-8 is replaced.
func plainText(s string) string { return string([]rune(s)) }

// showField adds a field of a log as Jaeger shows it.
func showField(fields map[string]string, key string, value any) {
	if s, ok := value.(string); ok {
		value = plainText(s)
	}
	fields[plainText(key)] = text(value)
}

// showTag adds a tag of a process or a span as Jaeger shows it: a text that is no UTF-8 is binary there, and a key that is none is told in
// the value.
func showTag(tags map[string]string, key string, value any) {
	if s, ok := value.(string); ok && !utf8.ValidString(s) {
		value = []byte(s)
	}
	if utf8.ValidString(key) {
		tags[key] = text(value)
		return
	}
	whole := []byte(key + ":")
	if raw, ok := value.([]byte); ok {
		whole = append(whole, raw...)
	} else {
		whole = fmt.Append(whole, value)
	}
	tags[invalidKey(text(whole))] = text(whole)
}

// invalidTagKey is what Jaeger calls a tag whose key is no UTF-8, with a number behind it: where a span has several they have theirs by chance.
const invalidTagKey = "invalid-tag-key-"

// invalidKey replaces that number, to tell such tags apart by their values.
func invalidKey(value string) string { return invalidTagKey + value }

// named gives the span its operation as Jaeger shows it.
func (s *Span) named(operation string) {
	if s.Operation = operation; !utf8.ValidString(operation) {
		s.Operation = "invalid-span-name"
		s.Tags[s.Operation] = text([]byte(operation))
	}
}

// parentShown takes away a parent that the span follows from besides: of two references to one span Jaeger shows one.
func (s *Span) parentShown() {
	if slices.Contains(s.Links, linkText("FOLLOWS_FROM", s.TraceID, s.ParentID)) {
		s.ParentID = ""
	}
}

// serviceShown takes the name of the service out of the tags of a process.
func serviceShown(process map[string]string) string {
	name, ok := process["service.name"]
	delete(process, "service.name")
	service, isText := strings.CutPrefix(name, "string ")
	switch {
	case !ok:
		return "missing-service-name"
	case strings.HasPrefix(name, "binary "): // it is no UTF-8
		return ""
	case !isText:
		return "service-name-wrong-type"
	case service == "":
		return "empty-service-name"
	}
	return service
}

// nanos is a time of Thrift as it is in OTLP, which is how Jaeger keeps it: beyond the year 2262 it is another one.
func nanos(micros int64) pcommon.Timestamp { return pcommon.Timestamp(uint64(micros) * 1000) }

func fromThrift(s *thrift.Span) Span {
	span := Span{
		TraceID:  idOf(s.TraceIdHigh, s.TraceIdLow),
		ID:       idOf(0, s.SpanId),
		ParentID: idOf(0, s.ParentSpanId),
		Start:    micros(nanos(s.StartTime)),
		Duration: duration(nanos(s.StartTime), nanos(s.StartTime+s.Duration)),
		Tags:     thriftTags(s.Tags),
	}
	span.named(s.OperationName)
	for _, ref := range s.References {
		id, child := idOf(0, ref.SpanId), ref.RefType == thrift.SpanRefType_CHILD_OF
		if child && span.ParentID == "" && idOf(ref.TraceIdHigh, ref.TraceIdLow) == span.TraceID {
			span.ParentID = id
		}
		if !child || id != span.ParentID {
			kind := "FOLLOWS_FROM" // and every kind that is none
			if child {
				kind = "CHILD_OF"
			}
			span.Links = append(span.Links, linkText(kind, idOf(ref.TraceIdHigh, ref.TraceIdLow), id))
		}
	}
	span.parentShown()
	for _, l := range s.Logs {
		span.Logs = append(span.Logs, Log{Time: micros(nanos(l.Timestamp)), Fields: thriftFields(l.Fields)})
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

// asJaegerShows applies what Jaeger changes on purpose when it takes a span: an error is told a second time as a status code, and a kind that
// it does not know is left out.
func asJaegerShows(s Span) Span {
	if !isKind(s.Tags["span.kind"]) {
		delete(s.Tags, "span.kind")
	}
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
		showTag(m, t.Key, thriftValue(t))
	}
	return m
}

// thriftFields are those of a log.
func thriftFields(tags []*thrift.Tag) map[string]string {
	m := make(map[string]string, len(tags))
	for _, t := range tags {
		showField(m, t.Key, thriftValue(t))
	}
	if event, ok := strings.CutPrefix(m["event"], "string "); !ok || event == "" {
		delete(m, "event") // it is the name of the event in OTLP, which is a text or is not there
	}
	return m
}

func thriftValue(t *thrift.Tag) any {
	switch t.VType {
	case thrift.TagType_STRING:
		return t.GetVStr()
	case thrift.TagType_BOOL:
		return t.GetVBool()
	case thrift.TagType_LONG:
		return t.GetVLong()
	case thrift.TagType_DOUBLE:
		return t.GetVDouble()
	case thrift.TagType_BINARY:
		return t.GetVBinary()
	}
	return fmt.Sprintf("<Unknown Jaeger TagType %q>", t.VType)
}

// idOf writes the id of a trace or span as [Span] has it; "" for none.
func idOf(high, low int64) string {
	if high == 0 {
		return plainID(strconv.FormatUint(uint64(low), 16))
	}
	return plainID(fmt.Sprintf("%x%016x", uint64(high), uint64(low)))
}
