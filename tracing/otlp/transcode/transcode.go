// Package transcode makes OTLP of jaeger.thrift batches, as OpenTelemetry's published
// Jaeger translation does (collector-contrib's pkg/translator/jaeger), which Jaeger's own
// receiver uses. It stands apart from package otlp, so that who writes OTLP alone needs
// no Thrift.
//
// The translation of Jaeger 2.13 (v0.140.1) is followed to the letter, with one thing
// more: the flag of a sampled span, as from v0.158 on. Later versions also give
// http.status_code the name http.response.status_code; here it keeps the one it has.
package transcode

import (
	"sync"

	"github.com/uber/jaeger-client-go/thrift-gen/jaeger"
	"google.golang.org/protobuf/encoding/protowire"

	"fault-tolerant-tracing/tracing/batch"
	"fault-tolerant-tracing/tracing/otlp/internal/wire"
)

// Append appends an ExportTraceServiceRequest with the process and the spans of a batch
// to dst. Of tags with one key the last one holds. A span of which nothing at all is
// said is left out. It is safe for several goroutines.
func Append(dst []byte, f batch.Frame) []byte {
	t := transcoders.Get().(*transcoder)
	defer transcoders.Put(t)
	t.B = dst
	t.batch(f)
	dst, t.B = t.B, nil
	return dst
}

var transcoders = sync.Pool{New: func() any { return new(transcoder) }}

// transcoder is the memory of one call of Append.
type transcoder struct {
	wire.Message
	reader batch.Reader
	tags   []batch.Tag
	attributes
}

// Keys and values that the translation brings in.
var (
	serviceName     = []byte("service.name")
	hostName        = []byte("host.name")
	exporterVersion = []byte("opencensus.exporterversion")
	refType         = []byte("opentracing.ref_type")
	childOf         = []byte("child_of")
	followsFrom     = []byte("follows_from")
)

func (t *transcoder) batch(f batch.Frame) {
	t.reader.Reset(f)
	all := t.Open(wire.RequestResourceSpans, 3)
	resource := t.Open(wire.ResourceSpansResource, 2)
	t.process(f)
	t.Close(resource, 2)
	if f.Spans() > 0 {
		spans := t.Open(wire.ResourceSpansScopeSpans, 3)
		t.Close(t.Open(wire.ScopeSpansScope, 1), 1)
		for t.reader.Next() {
			if !t.reader.Blank() {
				t.span(&t.reader.Span)
			}
		}
		t.Close(spans, 3)
	}
	t.Close(all, 3)
}

func (t *transcoder) process(f batch.Frame) {
	var service []byte
	service, t.tags = f.ReadProcess(append(t.tags[:0], batch.Tag{}))
	if len(service) > 0 {
		t.tags[0] = batch.Tag{Key: serviceName, Type: jaeger.TagType_STRING, Bytes: service}
		t.set(t.tags)
	} else {
		t.set(t.tags[1:])
	}
	if name := t.get("hostname"); name != nil && t.get("host.name") == nil {
		name.Key = hostName
	}
	if version := t.get("jaeger.version"); version != nil && t.get("opencensus.exporterversion") == nil {
		version.Key = exporterVersion
		version.Type, version.Bytes = jaeger.TagType_STRING, append([]byte("Jaeger-"), text(version)...)
	}
	t.write(wire.ResourceAttributes)
}

func (t *transcoder) span(s *batch.Span) {
	span := t.Open(wire.ScopeSpansSpans, 2)
	t.ID(wire.SpanTraceID, s.TraceIDHigh, s.TraceIDLow)
	t.ID(wire.SpanSpanID, s.SpanID)
	parent := parentOf(s)
	if parent != 0 {
		t.ID(wire.SpanParentID, parent)
	}
	t.Text(wire.SpanName, s.Operation)
	t.Fixed64(wire.SpanStart, uint64(s.StartTime)*1000)
	t.Fixed64(wire.SpanEnd, uint64(s.StartTime+s.Duration)*1000)
	t.set(s.Tags)
	kind := t.takeKind()
	code, reason := t.takeStatus(kind)
	t.Varint(wire.SpanKind, uint64(kind))
	t.write(wire.SpanAttributes)
	for i := range s.Logs {
		t.event(&s.Logs[i])
	}
	for _, ref := range s.References {
		if ref.SpanID != parent || ref.Type != jaeger.SpanRefType_CHILD_OF {
			t.link(ref)
		}
	}
	if code != 0 || len(reason) > 0 {
		status := t.Open(wire.SpanStatus, 1)
		t.Text(wire.StatusMessage, reason)
		t.Varint(wire.StatusCode, uint64(code))
		t.Close(status, 1)
	}
	if s.Flags&1 != 0 { // sampled, here and there
		t.B = protowire.AppendTag(t.B, wire.SpanFlags, protowire.Fixed32Type)
		t.B = protowire.AppendFixed32(t.B, 1)
	}
	t.Close(span, 2)
}

// parentOf returns the parent, or what stands for it: the first reference to a span of
// the same trace, one of CHILD_OF before any of FOLLOWS_FROM.
func parentOf(s *batch.Span) int64 {
	if s.ParentSpanID != 0 {
		return s.ParentSpanID
	}
	follows, found := int64(0), false
	for _, ref := range s.References {
		switch {
		case ref.TraceIDHigh != s.TraceIDHigh || ref.TraceIDLow != s.TraceIDLow:
		case ref.Type == jaeger.SpanRefType_CHILD_OF:
			return ref.SpanID
		case ref.Type == jaeger.SpanRefType_FOLLOWS_FROM && !found:
			follows, found = ref.SpanID, true
		}
	}
	return follows
}

func (t *transcoder) event(l *batch.Log) {
	event := t.Open(wire.SpanEvents, 1)
	t.Fixed64(wire.EventTime, uint64(l.Timestamp)*1000)
	t.set(l.Fields)
	name, _ := t.take("event")
	t.Text(wire.EventName, name)
	t.write(wire.EventAttributes)
	t.Close(event, 1)
}

func (t *transcoder) link(ref batch.Reference) {
	link := t.Open(wire.SpanLinks, 1)
	t.ID(wire.LinkTraceID, ref.TraceIDHigh, ref.TraceIDLow)
	t.ID(wire.LinkSpanID, ref.SpanID)
	kind := followsFrom
	if ref.Type == jaeger.SpanRefType_CHILD_OF {
		kind = childOf
	}
	t.attribute(wire.LinkAttributes, &batch.Tag{Key: refType, Type: jaeger.TagType_STRING, Bytes: kind})
	t.Close(link, 1)
}

// write writes the attributes as the repeated field of a message.
func (t *transcoder) write(field int) {
	for i := range t.list {
		t.attribute(field, &t.list[i])
	}
}

// attribute writes a KeyValue, none of what was taken.
func (t *transcoder) attribute(field int, tag *batch.Tag) {
	switch tag.Type {
	case jaeger.TagType_STRING:
		t.keyValue(field, tag.Key, 1+wire.Sized(len(tag.Bytes)))
		t.Bytes(wire.AnyString, tag.Bytes)
	case jaeger.TagType_BINARY:
		t.keyValue(field, tag.Key, 1+wire.Sized(len(tag.Bytes)))
		t.Bytes(wire.AnyBytes, tag.Bytes)
	case jaeger.TagType_BOOL:
		t.keyValue(field, tag.Key, 1+1)
		t.Number(wire.AnyBool, tag.Num)
	case jaeger.TagType_LONG:
		t.keyValue(field, tag.Key, 1+wire.SizeOf(tag.Num))
		t.Number(wire.AnyInt, tag.Num)
	case jaeger.TagType_DOUBLE:
		t.keyValue(field, tag.Key, 1+8)
		t.Bits(wire.AnyDouble, tag.Num)
	}
}

// keyValue writes what stands before a value of so many bytes.
func (t *transcoder) keyValue(field int, key []byte, size int) {
	b := append(t.B, byte(field<<3|int(protowire.BytesType)))
	b = wire.AppendVarint(b, uint64(1+wire.Sized(len(key))+1+wire.Sized(size)))
	b = append(b, wire.KeyValueKey<<3|byte(protowire.BytesType))
	b = wire.AppendVarint(b, uint64(len(key)))
	b = append(b, key...)
	b = append(b, wire.KeyValueValue<<3|byte(protowire.BytesType))
	t.B = wire.AppendVarint(b, uint64(size))
}
