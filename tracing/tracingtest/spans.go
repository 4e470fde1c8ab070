package tracingtest

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/uber/jaeger-client-go/thrift"
	"github.com/uber/jaeger-client-go/thrift-gen/jaeger"
)

// Span is a finished span as the wire format tells it.
type Span struct {
	Service   string
	Operation string
	TraceID   string // hex, as in the header uber-trace-id
	ID        string // hex
	ParentID  string // hex; "" for the root of a trace
	Start     time.Time
	Duration  time.Duration
	Tags      map[string]any
	Logs      []map[string]any // the fields of each log
}

// Traceparent returns the header traceparent of the span's context, sampled as all
// spans are that are reported.
func (s Span) Traceparent() string {
	return "00-" + strings.Repeat("0", 32-len(s.TraceID)) + s.TraceID + "-" + s.ID + "-01"
}

// SpansOnTopic reads topic as [ReadTopic] does until it holds at least so many
// spans, and returns all that it holds then, in the order of the topic. A
// record that is no batch fails the test.
func SpansOnTopic(t testing.TB, brokers, topic string, atLeast int) []Span {
	t.Helper()
	for records := 0; ; records++ { // each turn waits for one record more
		var spans []Span
		read := ReadTopic(t, brokers, topic, records)
		for _, r := range read {
			spans = append(spans, decode(t, r.Value)...)
		}
		if len(spans) >= atLeast {
			return spans
		}
		records = len(read)
	}
}

// decode reads a TBinary Batch with the code that jaeger-client-go generated,
// not with package batch: what is checked does not check itself.
func decode(t testing.TB, value []byte) []Span {
	t.Helper()
	protocol := thrift.NewTBinaryProtocolConf(&thrift.TMemoryBuffer{Buffer: bytes.NewBuffer(value)}, nil)
	var b jaeger.Batch
	if err := b.Read(context.Background(), protocol); err != nil {
		t.Fatalf("a record of %d bytes is no batch: %v", len(value), err)
	}
	var spans []Span
	for _, s := range b.Spans {
		spans = append(spans, newSpan(b.Process.ServiceName, s))
	}
	return spans
}

func newSpan(service string, s *jaeger.Span) Span {
	span := Span{
		Service: service, Operation: s.OperationName,
		TraceID: traceID(s), ID: hex(s.SpanId),
		Start: time.UnixMicro(s.StartTime), Duration: time.Duration(s.Duration) * time.Microsecond,
		Tags: tags(s.Tags),
	}
	if s.ParentSpanId != 0 {
		span.ParentID = hex(s.ParentSpanId)
	}
	for _, l := range s.Logs {
		span.Logs = append(span.Logs, tags(l.Fields))
	}
	return span
}

func hex(id int64) string { return fmt.Sprintf("%016x", uint64(id)) }

func traceID(s *jaeger.Span) string {
	if s.TraceIdHigh == 0 {
		return hex(s.TraceIdLow)
	}
	return hex(s.TraceIdHigh) + hex(s.TraceIdLow)
}

func tags(list []*jaeger.Tag) map[string]any {
	m := make(map[string]any, len(list))
	for _, tag := range list {
		switch tag.VType {
		case jaeger.TagType_STRING:
			m[tag.Key] = tag.GetVStr()
		case jaeger.TagType_DOUBLE:
			m[tag.Key] = tag.GetVDouble()
		case jaeger.TagType_BOOL:
			m[tag.Key] = tag.GetVBool()
		case jaeger.TagType_LONG:
			m[tag.Key] = tag.GetVLong()
		case jaeger.TagType_BINARY:
			m[tag.Key] = tag.GetVBinary()
		}
	}
	return m
}

// Named returns the one span of that operation among spans, and fails the test
// if there is none or more than one.
func Named(t testing.TB, spans []Span, operation string) Span {
	t.Helper()
	var found []Span
	for _, s := range spans {
		if s.Operation == operation {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		t.Fatalf("want one span %s, have %d among %d: %+v", operation, len(found), len(spans), spans)
	}
	return found[0]
}
