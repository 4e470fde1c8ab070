package verdict

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	thrift "github.com/uber/jaeger-client-go/thrift-gen/jaeger"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"fault-tolerant-tracing/services/internal/jaeger"
	"fault-tolerant-tracing/tracing/batch"
)

// What the real Jaeger makes of a span is what FromTopic says it makes of it, for all that a span can hold.
func TestARealJaegerShowsWhatFromTopicExpects(t *testing.T) {
	t.Parallel()
	p := jaeger.StartForTest(t)
	now := time.Now().UnixMicro()
	process := &thrift.Process{ServiceName: "stream", Tags: []*thrift.Tag{
		tag("hostname", "h"), tag("jaeger.version", "Go-2.30.0"), tag("ip", "10.0.0.1"), tag("client-uuid", "c0ffee"),
	}}
	spans := []*thrift.Span{
		{SpanId: 1, OperationName: "root", Duration: 7, Logs: []*thrift.Log{
			{Timestamp: now + 2, Fields: []*thrift.Tag{tag("event", "second"), tag("n", int64(2))}},
			{Timestamp: now + 1, Fields: []*thrift.Tag{tag("event", "first")}},
		}},
		{SpanId: -1, ParentSpanId: 1, OperationName: "all kinds of tags", Tags: []*thrift.Tag{
			tag("string", "6"), tag("int64", int64(6)), tag("big", int64(math.MaxInt64)), tag("negative", int64(math.MinInt64)),
			tag("float64", 0.1), tag("whole float64", 6.0), tag("yes", true), tag("no", false), tag("binary", []byte{0, 255}),
			tag("span.kind", "producer"), tag("twice", "first"), tag("twice", "second"), tag("", "no key"), tag("empty", ""),
		}},
		{SpanId: 3, ParentSpanId: 1, OperationName: "error", Tags: []*thrift.Tag{tag("error", true)}},
		{SpanId: 4, ParentSpanId: 1, OperationName: "no error", Tags: []*thrift.Tag{tag("error", false)}},
		{SpanId: 5, ParentSpanId: 1, OperationName: "client 404", Tags: []*thrift.Tag{tag("span.kind", "client"), tag("http.status_code", int64(404))}},
		{SpanId: 6, ParentSpanId: 1, OperationName: "server 404", Tags: []*thrift.Tag{tag("span.kind", "server"), tag("http.status_code", int64(404))}},
		{SpanId: 7, ParentSpanId: 1, OperationName: "server 503", Tags: []*thrift.Tag{tag("span.kind", "server"), tag("http.status_code", int64(503))}},
		{SpanId: 8, ParentSpanId: 1, OperationName: "client 302", Tags: []*thrift.Tag{tag("span.kind", "client"), tag("http.status_code", int64(302))}},
		{SpanId: 9, OperationName: "parent among the references", References: []*thrift.SpanRef{
			{RefType: thrift.SpanRefType_CHILD_OF, TraceIdLow: 0xabc, SpanId: 1},
			{RefType: thrift.SpanRefType_FOLLOWS_FROM, TraceIdLow: 0xabc, SpanId: 3},
		}},
		{SpanId: 10, ParentSpanId: 1, OperationName: "follows from its parent", References: []*thrift.SpanRef{
			{RefType: thrift.SpanRefType_CHILD_OF, TraceIdLow: 0xabc, SpanId: 1},
			{RefType: thrift.SpanRefType_FOLLOWS_FROM, TraceIdLow: 0xabc, SpanId: 1},
		}},
	}
	for _, s := range spans {
		s.TraceIdLow, s.StartTime, s.Flags = 0xabc, now, 1
	}
	value := thriftValueOf(t, process, spans)
	want, err := FromTopic(value)
	require.NoError(t, err)
	require.Len(t, want, len(spans))

	assertShown(t, p, thriftURL(p), "application/x-thrift", value, want)
}

func thriftURL(p *jaeger.Process) string { return p.Endpoint() + "?format=jaeger.thrift" }

func thriftValueOf(t *testing.T, process *thrift.Process, spans []*thrift.Span) []byte {
	t.Helper()
	var body []byte
	for _, s := range spans {
		var err error
		body, err = batch.AppendSpan(body, s)
		require.NoError(t, err)
	}
	head, err := batch.EncodeProcess(process)
	require.NoError(t, err)
	return batch.Encode(head, body, len(spans), 1, batch.Stats{})
}

// The same for a span of an OpenTelemetry client.
func TestARealJaegerShowsWhatFromTopicExpectsOfOpenTelemetry(t *testing.T) {
	t.Parallel()
	p := jaeger.StartForTest(t)
	now := pcommon.NewTimestampFromTime(time.Now())
	traces := ptrace.NewTraces()
	resource := traces.ResourceSpans().AppendEmpty()
	require.NoError(t, resource.Resource().Attributes().FromRaw(map[string]any{
		"service.name": "shop", "telemetry.sdk.language": "go", "host.name": "h", "process.pid": 7, "process.command_args": []any{"a", "b"},
	}))
	scope := resource.ScopeSpans().AppendEmpty()
	scope.Scope().SetName("library")
	scope.Scope().SetVersion("1.2")
	add := func(id byte, name string, kind ptrace.SpanKind) ptrace.Span {
		s := scope.Spans().AppendEmpty()
		s.SetTraceID(pcommon.TraceID{1, 15: 0xab})
		s.SetSpanID(pcommon.SpanID{7: id})
		s.SetName(name)
		s.SetKind(kind)
		s.SetStartTimestamp(now)
		s.SetEndTimestamp(now + 1_234_567)
		return s
	}
	root := add(1, "root", ptrace.SpanKindServer)
	root.TraceState().FromRaw("vendor=1")
	root.Status().SetCode(ptrace.StatusCodeOk)
	for i, kind := range []ptrace.SpanKind{ptrace.SpanKindUnspecified, ptrace.SpanKindInternal, ptrace.SpanKindClient, ptrace.SpanKindProducer, ptrace.SpanKindConsumer} {
		add(byte(i+2), kind.String(), kind).SetParentSpanID(root.SpanID())
	}
	full := add(9, "all that a span can hold", ptrace.SpanKindClient)
	full.SetParentSpanID(root.SpanID())
	full.Status().SetCode(ptrace.StatusCodeError)
	full.Status().SetMessage("card declined")
	require.NoError(t, full.Attributes().FromRaw(map[string]any{
		"string": "6", "int": 6, "negative": int64(math.MinInt64), "double": 0.1, "whole double": 6.0, "yes": true, "no": false,
		"bytes": []byte{0, 255}, "list": []any{"a", 1}, "map": map[string]any{"k": "v"}, "empty": "",
	}))
	for i := range 2 {
		event := full.Events().AppendEmpty()
		event.SetName("retry")
		event.SetTimestamp(now + pcommon.Timestamp(1000*(i+1)))
		event.Attributes().PutInt("attempt", int64(i))
	}
	link := full.Links().AppendEmpty()
	link.SetTraceID(pcommon.TraceID{2, 15: 0xcd})
	link.SetSpanID(pcommon.SpanID{7: 1})

	value, err := (&ptrace.ProtoMarshaler{}).MarshalTraces(traces)
	require.NoError(t, err)
	asJSON, err := (&ptrace.JSONMarshaler{}).MarshalTraces(traces)
	require.NoError(t, err)
	want, err := FromTopic(value)
	require.NoError(t, err)
	require.Len(t, want, traces.SpanCount())
	same, err := FromTopic(asJSON)
	require.NoError(t, err)
	assert.Equal(t, want, same)

	assertShown(t, p, p.OTLPEndpoint(), "application/x-protobuf", value, want)
}

// The same for values of both kinds in which a few bits are turned, as far as Jaeger takes them.
func TestARealJaegerShowsWhatFromTopicExpectsOfTurnedBits(t *testing.T) {
	t.Parallel()
	p := jaeger.StartForTest(t)
	query := jaeger.NewQuery(p.QueryURL())
	t.Cleanup(query.Close)
	random := rand.New(rand.NewPCG(1, 1))

	fromThrift := func() []byte {
		return thriftValueOf(t, &thrift.Process{ServiceName: "stream", Tags: []*thrift.Tag{tag("hostname", "h"), tag("ip", "10.0.0.1")}}, []*thrift.Span{{
			TraceIdHigh: random.Int64(), TraceIdLow: random.Int64(), SpanId: random.Int64(), ParentSpanId: 1, OperationName: "turned", StartTime: time.Now().UnixMicro(), Duration: 7,
			Tags:       []*thrift.Tag{tag("text", "six"), tag("number", int64(6)), tag("yes", true), tag("double", 0.5), tag("binary", []byte{0, 255}), tag("error", true)},
			References: []*thrift.SpanRef{{RefType: thrift.SpanRefType_FOLLOWS_FROM, TraceIdLow: 0xabc, SpanId: 3}},
			Logs:       []*thrift.Log{{Timestamp: time.Now().UnixMicro(), Fields: []*thrift.Tag{tag("event", "first"), tag("n", int64(1))}}},
		}})
	}
	otlp := func() ptrace.Traces {
		traces := ptrace.NewTraces()
		resource := traces.ResourceSpans().AppendEmpty()
		require.NoError(t, resource.Resource().Attributes().FromRaw(map[string]any{"service.name": "shop", "process.pid": 7}))
		scope := resource.ScopeSpans().AppendEmpty()
		scope.Scope().SetName("library")
		scope.Scope().SetVersion("1.2")
		s := scope.Spans().AppendEmpty()
		var trace pcommon.TraceID
		binary.BigEndian.PutUint64(trace[:], random.Uint64())
		binary.BigEndian.PutUint64(trace[8:], random.Uint64())
		s.SetTraceID(trace)
		s.SetSpanID(pcommon.SpanID{1, 7: 1})
		s.SetParentSpanID(pcommon.SpanID{1, 7: 2})
		s.SetName("turned")
		s.SetKind(ptrace.SpanKindClient)
		s.SetStartTimestamp(pcommon.NewTimestampFromTime(time.Now()))
		s.SetEndTimestamp(s.StartTimestamp() + 1_234_567)
		s.TraceState().FromRaw("vendor=1,another=2")
		s.Status().SetCode(ptrace.StatusCodeError)
		s.Status().SetMessage("card declined")
		require.NoError(t, s.Attributes().FromRaw(map[string]any{
			"string": "6", "int": 6, "double": 0.1, "yes": true, "bytes": []byte{0, 255}, "list": []any{"a", 1}, "map": map[string]any{"k": "v"},
		}))
		event := s.Events().AppendEmpty()
		event.SetName("retry")
		event.SetTimestamp(s.StartTimestamp())
		event.Attributes().PutStr("why", "late")
		link := s.Links().AppendEmpty()
		link.SetTraceID(pcommon.TraceID{2, 15: 0xcd})
		link.SetSpanID(pcommon.SpanID{7: 1})
		return traces
	}

	for _, kind := range []struct {
		name, url, contentType string
		value                  func() ([]byte, error)
	}{
		{"jaeger_thrift", thriftURL(p), "application/x-thrift", func() ([]byte, error) { return fromThrift(), nil }},
		{"otlp_proto", p.OTLPEndpoint(), "application/x-protobuf", func() ([]byte, error) { return new(ptrace.ProtoMarshaler).MarshalTraces(otlp()) }},
		{"otlp_json", p.OTLPEndpoint(), "application/json", func() ([]byte, error) { return new(ptrace.JSONMarshaler).MarshalTraces(otlp()) }},
	} {
		compared := 0
		for range 1000 {
			value, err := kind.value()
			require.NoError(t, err)
			for range 1 + random.IntN(3) {
				value[random.IntN(len(value))] ^= 1 << random.IntN(8)
			}
			want, err := FromTopic(value)
			if err != nil || len(want) != 1 || want[0].TraceID == "" || !post(t, kind.url, kind.contentType, value) {
				continue // such a record is set aside
			}
			compared++
			trace, err := query.Trace(t.Context(), want[0].TraceID)
			require.NoError(t, err, "%s %q", kind.name, value)
			got := FromJaeger(trace)
			require.Len(t, got, 1)
			require.Empty(t, Differences(want[0], got[0]), "%s %q", kind.name, value)
		}
		assert.Greater(t, compared, 100, kind.name)
	}
}

// assertShown posts a value and expects exactly these spans in Jaeger.
func assertShown(t *testing.T, p *jaeger.Process, url, contentType string, value []byte, want []Span) {
	t.Helper()
	require.True(t, post(t, url, contentType, value))

	query := jaeger.NewQuery(p.QueryURL())
	defer query.Close()
	trace, err := query.Trace(t.Context(), want[0].TraceID)
	require.NoError(t, err)
	got := map[spanKey]Span{}
	for _, s := range FromJaeger(trace) {
		got[s.key()] = s
	}
	require.Len(t, got, len(want))
	for _, w := range want {
		assert.Empty(t, Differences(w, got[w.key()]), w.Operation)
		assert.Equal(t, w.digest(), got[w.key()].digest(), w.Operation)
	}
}

// post tells whether a value was accepted.
func post(t *testing.T, url, contentType string, value []byte) bool {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	resp, err := client.Post(url, contentType, bytes.NewReader(value))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode/100 == 2
}

func TestWhatWasSetAsideIsNotMissing(t *testing.T) {
	poison := &kgo.Record{Topic: tracingTopic, Partition: 2, Offset: 7, Value: []byte("poison")}
	head, err := batch.EncodeProcess(&thrift.Process{ServiceName: "topic-config"})
	require.NoError(t, err)
	body, err := batch.AppendSpan(nil, &thrift.Span{TraceIdLow: 5, SpanId: 5, OperationName: "too large for the store"})
	require.NoError(t, err)
	one := &kgo.Record{Topic: tracingTopic, Value: batch.Encode(head, body, 1, 1, batch.Stats{})}
	check := func(letters ...*kgo.Record) Result {
		c := New(nil, nil, nil)
		c.numbers.Fed = []*Number{{Value: 7, TraceID: "2", Arrived: true}}
		c.record(poison)
		c.record(one)
		for _, l := range letters {
			require.NoError(t, c.letter(l))
		}
		return look(c, nil, whole(7, "2"))
	}
	r := check()
	assert.Equal(t, 2, r.TopicMissing)
	require.Len(t, r.Problems, 2)
	assert.Equal(t, "span 5 (topic-config: too large for the store) of trace 5 is on tracing-topic and not in Jaeger", r.Problems[0])
	assert.Contains(t, r.Problems[1], "record at partition 2, offset 7 of tracing-topic: no batch of spans")
	assert.False(t, r.Complete())

	letter := &kgo.Record{Topic: deadTopic, Value: poison.Value, Headers: []kgo.RecordHeader{
		{Key: "dlq.partition", Value: []byte("2")}, {Key: "dlq.offset", Value: []byte("7")}, {Key: "dlq.reason", Value: []byte("why")},
	}}
	other := &kgo.Record{Topic: deadTopic, Value: one.Value, Headers: letter.Headers[2:]}
	r = check(letter, other)
	assert.Equal(t, 2, r.SetAside)
	assert.True(t, r.Complete(), "%v", r.Problems)

	letter.Headers[1].Value = []byte("8")
	r = check(letter, other)
	assert.Equal(t, 1, r.TopicMissing, "another record with the same value was set aside")

	letter.Headers[2].Value = nil
	r = check(letter, other)
	assert.Equal(t, 2, r.TopicMissing, "nobody says why")
}

func tag(key string, value any) *thrift.Tag {
	t := &thrift.Tag{Key: key}
	switch v := value.(type) {
	case string:
		t.VType, t.VStr = thrift.TagType_STRING, &v
	case int64:
		t.VType, t.VLong = thrift.TagType_LONG, &v
	case float64:
		t.VType, t.VDouble = thrift.TagType_DOUBLE, &v
	case bool:
		t.VType, t.VBool = thrift.TagType_BOOL, &v
	case []byte:
		t.VType, t.VBinary = thrift.TagType_BINARY, v
	}
	return t
}
