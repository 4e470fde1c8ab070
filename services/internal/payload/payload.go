// Package payload knows the formats that spans have on a topic, and gives them one face.
// Their names are those of OpenTelemetry's Kafka exporter.
package payload

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jaegertracing/jaeger-idl/model/v1"
	translator "github.com/open-telemetry/opentelemetry-collector-contrib/pkg/translator/jaeger"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"fault-tolerant-tracing/tracing/batch"
	"fault-tolerant-tracing/tracing/otlp"
	"fault-tolerant-tracing/tracing/otlp/transcode"
)

// Setting is TRACING_FORMAT.
type Setting struct {
	Format string `env:"TRACING_FORMAT" oneof:"jaeger_proto" help:"the one format that cannot be told from the others, jaeger_thrift, otlp_proto and otlp_json, which may be mixed"`
}

// Parse returns the spans that a record holds: all of its value is one batch, or one span
// of jaeger_proto.
func (s Setting) Parse(value []byte) (Spans, error) {
	if s.Format != "" {
		return parseSpan(value)
	}
	return Parse(value)
}

// Parse is [Setting.Parse] without TRACING_FORMAT.
func Parse(value []byte) (Spans, error) {
	switch {
	case len(value) == 0:
		return Spans{}, fmt.Errorf("no batch of spans: it is empty")
	case bytes.HasPrefix(bytes.TrimLeft(value, " \t\r\n"), []byte("{")):
		return parseJSON(value)
	case value[0] == 0x0a:
		// A request begins so, and so may a batch whose first field is its number.
		if request, err := otlp.Parse(value); err == nil {
			return known(Spans{value: value, request: request})
		}
	}
	frame, err := batch.Parse(value)
	if err != nil {
		return Spans{}, fmt.Errorf("no batch of spans: %w", err)
	}
	return Spans{value: value, frame: frame, thrift: true}, nil
}

func parseJSON(value []byte) (Spans, error) {
	traces, err := new(ptrace.JSONUnmarshaler).UnmarshalTraces(value)
	if err == nil && !json.Valid(value) {
		err = errors.New("something is behind it")
	}
	if err != nil {
		return Spans{}, fmt.Errorf("no OTLP request in JSON: %w", err)
	}
	held, err := translated(value, traces)
	if err != nil {
		return Spans{}, err
	}
	return known(held)
}

// known refuses what may be something else: fields that are unknown are passed over, and
// all of them may be. A request without spans, which tells of losses, names its service.
func known(s Spans) (Spans, error) {
	if s.Len() == 0 && s.Service() == "" {
		return Spans{}, errors.New("no batch of spans: a request of OTLP without spans and service, or something else that looks like one")
	}
	return s, nil
}

func parseSpan(value []byte) (Spans, error) {
	span := new(model.Span)
	if err := span.Unmarshal(value); err != nil {
		return Spans{}, fmt.Errorf("no span of jaeger_proto: %w", err)
	}
	traces, err := translator.ProtoToTraces([]*model.Batch{{Spans: []*model.Span{span}}})
	if err != nil {
		return Spans{}, fmt.Errorf("no span of jaeger_proto: %w", err)
	}
	return translated(value, traces)
}

func translated(value []byte, traces ptrace.Traces) (Spans, error) {
	translated, err := new(ptrace.ProtoMarshaler).MarshalTraces(traces)
	if err != nil {
		return Spans{}, err
	}
	request, err := otlp.Parse(translated)
	return Spans{value: value, request: request}, err
}

// Spans are the spans of a record, in its format. They keep the record's value, which
// must not change, and are safe for several goroutines. The zero Spans are none.
type Spans struct {
	value   []byte
	thrift  bool
	frame   batch.Frame  // of thrift
	request otlp.Request // of the others
}

// Bytes returns the record's value. It is not a copy.
func (s Spans) Bytes() []byte { return s.value }

// Len returns the number of spans.
func (s Spans) Len() int {
	if s.thrift {
		return s.frame.Spans()
	}
	return s.request.Spans()
}

// Service returns the name of the service, the first one if there are several; "": it has
// none.
func (s Spans) Service() string {
	if s.thrift {
		return s.frame.Service()
	}
	return s.request.Service()
}

// Thrift returns the batch of a record of jaeger_thrift; false: it is of another format.
func (s Spans) Thrift() (batch.Frame, bool) { return s.frame, s.thrift }

// Slice returns a record with the spans from the one included to the other excluded,
// counted from 0. What JSON is split into is no longer JSON.
func (s Spans) Slice(from, to int) []byte {
	switch {
	case from == 0 && to >= s.Len():
		return s.value
	case s.thrift:
		return s.frame.Slice(from, to)
	}
	return s.request.Slice(nil, from, to)
}

// Select returns a record with only the spans that keep wants, by the name of their
// service and the id of their trace, and their number. If it wants none, the record is
// nil. keep is called once for each span, in order.
func (s Spans) Select(keep func(service string, trace otlp.TraceID) bool) (value []byte, spans int) {
	if s.thrift {
		service := s.frame.Service()
		return s.frame.Select(func(high, low int64) bool { return keep(service, otlp.NewTraceID(high, low)) })
	}
	if value, spans = s.request.Select(keep); spans > 0 && spans == s.Len() {
		value = s.value
	}
	return value, spans
}

// AppendOTLP appends a request of OTLP to dst with the spans from the one included to the
// other excluded.
func (s Spans) AppendOTLP(dst []byte, from, to int) []byte {
	switch {
	case !s.thrift:
		return s.request.Slice(dst, from, min(to, s.Len()))
	case from == 0 && to >= s.Len():
		return transcode.Append(dst, s.frame)
	}
	part, _ := batch.Parse(s.frame.Slice(from, to))
	return transcode.Append(dst, part)
}

// Decode returns the spans as objects, those of OTLP. It fails where a text is no UTF-8.
func (s Spans) Decode() (ptrace.Traces, error) {
	return new(ptrace.ProtoUnmarshaler).UnmarshalTraces(s.AppendOTLP(nil, 0, s.Len()))
}
