package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	protocol "github.com/uber/jaeger-client-go/thrift"
	thrift "github.com/uber/jaeger-client-go/thrift-gen/jaeger"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// writtenPerSecond is how many records a fault writes.
const writtenPerSecond = 20

// writing writes to topics what make makes, each record to one of them.
func writing(make func(*rand.Rand) *kgo.Record, topics ...string) func(context.Context, *proof, *rand.Rand) error {
	return func(ctx context.Context, p *proof, r *rand.Rand) error {
		client, err := newWriter(p.brokers())
		if err != nil {
			return err
		}
		defer client.Close()
		for wait(ctx, time.Second/writtenPerSecond) {
			record := make(r)
			record.Topic = topics[r.IntN(len(topics))]
			client.TryProduce(p.running, record, nil)
		}
		return client.Flush(p.running)
	}
}

// spanPoison is a record for tracing-topic that is not as it should be. Its spans, if there are any, have ids of their own.
func spanPoison(r *rand.Rand) *kgo.Record {
	record := &kgo.Record{}
	switch n := r.IntN(50); {
	case n == 0: // a span that Jaeger's store refuses, among others: seldom, as each takes the relay some tries to be sure
		record.Value = thriftBatch(r, func(s *thrift.Span) { s.Tags = append(s.Tags, stringTag("large", strings.Repeat("x", 70_000))) })
	case n < 10:
		record.Value = noise(r, 1+r.IntN(2000))
	case n < 13: // null
	case n < 16: // empty
		record.Value = []byte{}
	case n < 24: // cut
		whole := anyBatch(r)
		record.Value = whole[:1+r.IntN(len(whole)-1)]
	case n < 34: // a few bits turned
		record.Value = turned(r)
	case n < 38: // something behind it
		record.Value = append(anyBatch(r), noise(r, 1+r.IntN(20))...)
	case n < 40: // large
		record.Value = noise(r, 900_000)
	case n < 45: // times that cannot be
		times := []int64{0, 1, -1, time.Now().AddDate(0, 0, 30).UnixMicro(), time.Now().AddDate(-30, 0, 0).UnixMicro(), math.MaxInt64 / 1000, math.MaxInt64, math.MinInt64}
		record.Value = thriftBatch(r, func(s *thrift.Span) { s.StartTime, s.Duration = times[r.IntN(len(times))], times[r.IntN(len(times))] })
	default: // a list that claims to be long
		record.Value = thriftBatch(r, func(*thrift.Span) {})
		if i := bytes.Index(record.Value, []byte{protocol.LIST, 0, 2}); i >= 0 { // the spans
			binary.BigEndian.PutUint32(record.Value[i+4:], 100_000_000)
		}
	}
	if r.IntN(2) == 0 {
		record.Key = noise(r, r.IntN(100))
		record.Headers = hostileHeaders(r)
	}
	if r.IntN(5) == 0 { // a time that it was not written at; Kafka refuses more than an hour from now
		record.Timestamp = []time.Time{time.UnixMilli(0), time.Now().AddDate(-30, 0, 0), time.Now().Add(30 * time.Minute)}[r.IntN(3)]
	}
	return record
}

// numberPoison is a record for number-topic that is no number, or one with hostile headers.
func numberPoison(r *rand.Rand) *kgo.Record {
	record := &kgo.Record{Headers: hostileHeaders(r)}
	switch r.IntN(5) {
	case 0: // a good number, larger than any that flows
		record.Value = fmt.Appendf(nil, "%d", 1_000_000_000+r.Int64N(1_000_000_000))
		return record
	case 1:
		record.Value = noise(r, r.IntN(1000))
	case 2: // null
	case 3:
		record.Value = []byte("99999999999999999999")
	case 4:
		record.Value = noise(r, 500_000)
	}
	record.Key = noise(r, r.IntN(20))
	// A context that is right, with baggage that is not: the spans of no number.
	if r.IntN(2) == 0 {
		record.Headers = append(slices.DeleteFunc(record.Headers, func(h kgo.RecordHeader) bool { return h.Key == "uber-trace-id" }),
			kgo.RecordHeader{Key: "uber-trace-id", Value: fmt.Appendf(nil, "%x:%x:0:1", 1+r.Uint64(), 1+r.Uint64())})
	}
	return record
}

// hostileHeaders are those of no trace, and baggage that nobody wants.
func hostileHeaders(r *rand.Rand) []kgo.RecordHeader {
	contexts := []string{"", ":", "::::", "x:y:z:1", "0:0:0:0", "%00", strings.Repeat("f", 10_000), "1:1", "-1:-1:-1:-1", "\xff\xfe", "{}", "1:2:3:1:\r\nx: y"}
	headers := []kgo.RecordHeader{
		{Key: "uber-trace-id", Value: []byte(contexts[r.IntN(len(contexts))])},
		{Key: "traceparent", Value: []byte([]string{"", "00-0-0-00", "ff-" + strings.Repeat("0", 32) + "-" + strings.Repeat("0", 16) + "-01", strings.Repeat("-", 5000)}[r.IntN(4)])},
		{Key: "jaeger-debug-id\r\n", Value: noise(r, 20)},
		{Key: string(noise(r, 10)), Value: noise(r, 100)},
		{Key: "", Value: nil},
	}
	for i := range r.IntN(40) {
		headers = append(headers, kgo.RecordHeader{Key: fmt.Sprint("uberctx-k", i), Value: noise(r, r.IntN(3000))})
	}
	return append(headers, kgo.RecordHeader{Key: "baggage", Value: noise(r, r.IntN(10_000))})
}

func noise(r *rand.Rand, length int) []byte {
	b := make([]byte, length)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// turned is a record of tracing-topic in which a few bits are turned.
func turned(r *rand.Rand) []byte {
	value := anyBatch(r)
	for range 1 + r.IntN(3) {
		value[r.IntN(len(value))] ^= 1 << r.IntN(8)
	}
	return value
}

// anyBatch is a record of tracing-topic as it should be, in any of the formats.
func anyBatch(r *rand.Rand) []byte {
	switch r.IntN(3) {
	case 0:
		value, _ := (&ptrace.ProtoMarshaler{}).MarshalTraces(otlpTraces(r)) // it does not fail
		return value
	case 1:
		value, _ := (&ptrace.JSONMarshaler{}).MarshalTraces(otlpTraces(r))
		return value
	}
	return thriftBatch(r, func(*thrift.Span) {})
}

// thriftBatch is a batch of three spans; the one in the middle is changed.
func thriftBatch(r *rand.Rand, change func(*thrift.Span)) []byte {
	b := &thrift.Batch{Process: &thrift.Process{ServiceName: "poison", Tags: []*thrift.Tag{stringTag("ip", "10.0.0.1")}}}
	trace := int64(r.Uint64())
	for i := range 3 {
		b.Spans = append(b.Spans, &thrift.Span{
			TraceIdHigh: 1, TraceIdLow: trace, SpanId: int64(r.Uint64()), OperationName: fmt.Sprint("poisoned ", i), Flags: 1,
			StartTime: time.Now().UnixMicro(), Duration: 1000,
			Tags: []*thrift.Tag{
				stringTag("text", "good"), stringTag("span.kind", "client"), {Key: "number", VType: thrift.TagType_LONG, VLong: new(int64(7))},
				{Key: "double", VType: thrift.TagType_DOUBLE, VDouble: new(0.5)}, {Key: "error", VType: thrift.TagType_BOOL, VBool: new(true)},
				{Key: "bytes", VType: thrift.TagType_BINARY, VBinary: []byte{0, 255}},
			},
			References: []*thrift.SpanRef{{RefType: thrift.SpanRefType_FOLLOWS_FROM, TraceIdLow: 3, SpanId: 4}},
			Logs:       []*thrift.Log{{Timestamp: time.Now().UnixMicro(), Fields: []*thrift.Tag{stringTag("event", "poison"), stringTag("text", "good")}}},
		})
	}
	change(b.Spans[1])
	buffer := protocol.NewTMemoryBuffer()
	_ = b.Write(context.Background(), protocol.NewTBinaryProtocolConf(buffer, nil)) // memory does not fail
	return buffer.Bytes()
}

func stringTag(key, value string) *thrift.Tag {
	return &thrift.Tag{Key: key, VType: thrift.TagType_STRING, VStr: &value}
}

func otlpTraces(r *rand.Rand) ptrace.Traces {
	traces := ptrace.NewTraces()
	resource := traces.ResourceSpans().AppendEmpty()
	resource.Resource().Attributes().PutStr("service.name", "poison")
	scope := resource.ScopeSpans().AppendEmpty()
	scope.Scope().SetName("library")
	scope.Scope().SetVersion("1.2")
	var trace pcommon.TraceID
	binary.BigEndian.PutUint64(trace[:8], 2)
	binary.BigEndian.PutUint64(trace[8:], r.Uint64())
	for i := range 3 {
		span := scope.Spans().AppendEmpty()
		var id pcommon.SpanID
		binary.BigEndian.PutUint64(id[:], r.Uint64())
		span.SetTraceID(trace)
		span.SetSpanID(id)
		span.SetName(fmt.Sprint("poisoned ", i))
		span.SetStartTimestamp(pcommon.NewTimestampFromTime(time.Now()))
		span.SetEndTimestamp(pcommon.NewTimestampFromTime(time.Now().Add(time.Millisecond)))
		span.SetKind(ptrace.SpanKindClient)
		span.TraceState().FromRaw("vendor=1")
		span.Status().SetCode(ptrace.StatusCodeError)
		span.Status().SetMessage("declined")
		_ = span.Attributes().FromRaw(map[string]any{ // it can hold all of them
			"text": "good", "number": 7, "double": 0.5, "yes": true, "bytes": []byte{0, 255}, "list": []any{"a", 1}, "map": map[string]any{"k": "v"},
		})
		event := span.Events().AppendEmpty()
		event.SetName("poison")
		event.Attributes().PutStr("text", "good")
		link := span.Links().AppendEmpty()
		link.SetTraceID(trace)
		link.SetSpanID(id)
	}
	return traces
}
