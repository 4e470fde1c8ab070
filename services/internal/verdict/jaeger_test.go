package verdict

import (
	"bytes"
	"math"
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
	var body []byte
	for _, s := range spans {
		s.TraceIdLow, s.StartTime, s.Flags = 0xabc, now, 1
		var err error
		body, err = batch.AppendSpan(body, s)
		require.NoError(t, err)
	}
	head, err := batch.EncodeProcess(process)
	require.NoError(t, err)
	value := batch.Encode(head, body, len(spans), 1, batch.Stats{})
	want, err := FromTopic(value)
	require.NoError(t, err)
	require.Len(t, want, len(spans))

	assertShown(t, p, p.Endpoint()+"?format=jaeger.thrift", "application/x-thrift", value, want)
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

// assertShown posts a value and expects exactly these spans in Jaeger.
func assertShown(t *testing.T, p *jaeger.Process, url, contentType string, value []byte, want []Span) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	resp, err := client.Post(url, contentType, bytes.NewReader(value))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 2, resp.StatusCode/100)

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
