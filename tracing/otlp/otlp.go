// Package otlp owns OTLP's bytes: a record of otlp_proto is an ExportTraceServiceRequest
// of opentelemetry/proto/collector/trace/v1, as OpenTelemetry's Kafka exporter writes it
// and as OTLP/HTTP takes it.
//
// Carriers look at the structure of a request without decoding a span (Parse), and can
// split it and pick the spans of some traces. Requests merge by appending their bytes:
// that is what Protocol Buffers say of repeated fields. Decode is for people and tests.
// The package neither sends nor receives anything.
package otlp

import (
	"encoding/binary"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	collectorpb "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"

	"fault-tolerant-tracing/tracing/otlp/internal/wire"
)

// TraceID is the id of a trace.
type TraceID [16]byte

// NewTraceID returns the id with these halves.
func NewTraceID(high, low int64) (id TraceID) {
	binary.BigEndian.PutUint64(id[:8], uint64(high))
	binary.BigEndian.PutUint64(id[8:], uint64(low))
	return id
}

// Request is the structure of a request. It keeps the bytes it was parsed from, which
// must not change; it is safe for several goroutines. The zero Request is an empty one.
type Request struct {
	value []byte
	spans int
}

// Parse checks that value is one whole request and nothing else, down to the attributes
// of its spans: every known field has the type it should have, and every id the right
// length. Unknown fields are passed over, as every reader of Protocol Buffers does, but
// not groups, which proto3 does not have and readers disagree about. The time taken is
// linear in len(value); nothing is allocated but the error, which names the offset at
// which the bytes stop being a request.
func Parse(value []byte) (Request, error) {
	var w walker
	if err := w.message(value, 0, requestShape, 0); err != nil {
		return Request{}, err
	}
	return Request{value, w.spans}, nil
}

// Bytes returns what was parsed. It is not a copy.
func (r Request) Bytes() []byte { return r.value }

// Spans returns the number of spans.
func (r Request) Spans() int { return r.spans }

// Slice appends a request to dst with the spans from the one included to the other
// excluded, counted from 0, and what stands around them: resources, scopes and unknown
// fields. dst must not share memory with the request.
func (r Request) Slice(dst []byte, from, to int) []byte {
	if from == 0 && to == r.spans {
		return append(dst, r.value...)
	}
	n := -1
	keep := func([]byte) bool {
		n++
		return n >= from && n < to
	}
	dst, _ = r.pick(dst, func([]byte) func([]byte) bool { return keep })
	return dst
}

// Select returns the request with only the spans that keep wants, by the name of their
// service and the id of their trace, with what stands around them, and their number. If
// it wants none, value is nil. keep is called once for each span, in order.
func (r Request) Select(keep func(service string, trace TraceID) bool) (value []byte, spans int) {
	return r.pick(nil, func(resource []byte) func([]byte) bool {
		service := serviceOf(resource)
		return func(span []byte) bool { return keep(service, traceOf(span)) }
	})
}

// pick appends the request with some spans to dst, nothing if there are none, and returns
// their number. of is asked once for the spans of each ResourceSpans.
func (r Request) pick(dst []byte, of func(resource []byte) (keep func(span []byte) bool)) (value []byte, spans int) {
	m := wire.Message{B: dst}
	for f := range fieldsOf(r.value) {
		if f.is(wire.RequestResourceSpans) {
			begin := len(m.B)
			resource, picked, keep := m.Open(wire.RequestResourceSpans, lengthGuess), 0, of(f.content)
			for f := range fieldsOf(f.content) {
				if f.is(wire.ResourceSpansScopeSpans) {
					picked += pickScope(&m, f.content, keep)
				} else {
					m.Raw(f.all)
				}
			}
			if m.Close(resource, lengthGuess); picked == 0 {
				m.B = m.B[:begin]
			}
			spans += picked
		} else {
			m.Raw(f.all)
		}
	}
	if spans == 0 {
		return dst, 0
	}
	return m.B, spans
}

// lengthGuess is how many bytes the lengths of messages with several spans take, mostly.
const lengthGuess = 3

// pickScope appends ScopeSpans with some spans, if there are any, and returns their number.
func pickScope(m *wire.Message, content []byte, keep func(span []byte) bool) (picked int) {
	begin := len(m.B)
	scope := m.Open(wire.ResourceSpansScopeSpans, lengthGuess)
	for f := range fieldsOf(content) {
		if f.is(wire.ScopeSpansSpans) {
			if !keep(f.content) {
				continue
			}
			picked++
		}
		m.Raw(f.all)
	}
	if m.Close(scope, lengthGuess); picked == 0 {
		m.B = m.B[:begin]
	}
	return picked
}

// Service returns the name of the first resource that has one, "" if none has.
func (r Request) Service() (name string) {
	for f := range fieldsOf(r.value) {
		if name := serviceOf(f.contentIf(wire.RequestResourceSpans)); name != "" {
			return name
		}
	}
	return ""
}

// serviceOf returns the name of the service of a ResourceSpans, "" if it has none.
func serviceOf(content []byte) string {
	for f := range fieldsOf(content) {
		for f := range fieldsOf(f.contentIf(wire.ResourceSpansResource)) {
			if name := serviceName(f.contentIf(wire.ResourceAttributes)); name != "" {
				return name
			}
		}
	}
	return ""
}

// serviceName returns the value of an attribute service.name; "": it is another one.
func serviceName(keyValue []byte) string {
	var key, value []byte
	for f := range fieldsOf(keyValue) {
		switch {
		case f.is(wire.KeyValueKey):
			key = f.content
		case f.is(wire.KeyValueValue):
			value = f.content
		}
	}
	if string(key) != "service.name" {
		return ""
	}
	var name []byte
	for f := range fieldsOf(value) {
		name = f.contentIf(wire.AnyString)
	}
	return string(name)
}

// traceOf returns the id of a span's trace; zero: it has none.
func traceOf(span []byte) (id TraceID) {
	for f := range fieldsOf(span) {
		if f.is(wire.SpanTraceID) {
			copy(id[:], f.content)
		}
	}
	return id
}

// Decode returns the request that value holds. It fails where Parse fails, and where a
// text is no UTF-8.
func Decode(value []byte) (*collectorpb.ExportTraceServiceRequest, error) {
	if _, err := Parse(value); err != nil {
		return nil, err
	}
	request := new(collectorpb.ExportTraceServiceRequest)
	return request, proto.Unmarshal(value, request)
}

// part is one field of a message that Parse has accepted.
type part struct {
	number  protowire.Number
	typ     protowire.Type
	all     []byte // with its head
	content []byte // of a message, bytes or a text
}

func (p part) is(number protowire.Number) bool {
	return p.number == number && p.typ == protowire.BytesType
}

// contentIf returns the content of the field with a number, nil of others.
func (p part) contentIf(number protowire.Number) []byte {
	if !p.is(number) {
		return nil
	}
	return p.content
}

// fieldsOf goes through the fields of a message that Parse has accepted.
func fieldsOf(b []byte) func(yield func(part) bool) {
	return func(yield func(part) bool) {
		for len(b) > 0 {
			number, typ, head := protowire.ConsumeTag(b)
			size := head + protowire.ConsumeFieldValue(number, typ, b[head:])
			p := part{number: number, typ: typ, all: b[:size]}
			if typ == protowire.BytesType {
				p.content, _ = protowire.ConsumeBytes(b[head:])
			}
			if !yield(p) {
				return
			}
			b = b[size:]
		}
	}
}
