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

	"fault-tolerant-tracing/services/internal/jaeger"
	"fault-tolerant-tracing/tracing/batch"
	"fault-tolerant-tracing/tracing/tracingtest"
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
	want, err := FromTopic([]*kgo.Record{{Topic: tracingTopic, Value: value}})
	require.NoError(t, err)
	require.Len(t, want, len(spans))

	resp, err := http.Post(p.Endpoint()+"?format=jaeger.thrift", "application/x-thrift", bytes.NewReader(value))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusAccepted, resp.StatusCode)
	http.DefaultClient.CloseIdleConnections()

	query := jaeger.NewQuery(p.QueryURL())
	defer query.Close()
	trace, err := query.Trace(t.Context(), "abc")
	require.NoError(t, err)
	got := distinct(FromJaeger(trace))
	require.Len(t, got.spans, len(spans))
	for _, w := range want {
		assert.Empty(t, Differences(w, got.spans[got.index[w.key()]]), w.Operation)
	}
}

func TestARecordThatIsNoBatchIsAnError(t *testing.T) {
	_, err := FromTopic([]*kgo.Record{{Topic: tracingTopic, Partition: 2, Offset: 7, Value: []byte("poison")}})
	assert.ErrorContains(t, err, "record at partition 2, offset 7 of tracing-topic")
}

func TestReadTopicsReadsEachToItsEnd(t *testing.T) {
	b := tracingtest.StartBroker(t)
	b.CreateTopics(t, 3, "full", "empty", "unasked")
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	require.NoError(t, err)
	defer client.Close()
	for _, topic := range []string{"full", "unasked"} {
		for range 100 {
			require.NoError(t, client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte("v")}).FirstErr())
		}
	}
	records, err := ReadTopics(t.Context(), []string{b.Addr()}, "full", "empty")
	require.NoError(t, err)
	assert.Len(t, records, 100)

	_, err = ReadTopics(t.Context(), []string{b.Addr()}, "missing")
	assert.ErrorContains(t, err, "read [missing]")
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
