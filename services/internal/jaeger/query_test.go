package jaeger

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	thriftgen "github.com/uber/jaeger-client-go/thrift-gen/jaeger"
)

func ptr[T any](v T) *T { return &v }

func TestTraceComesBackAsItWasPosted(t *testing.T) {
	t.Parallel()
	p := StartForTest(t)
	parent, child := newSpan("parent"), newSpan("child")
	child.TraceIdLow = parent.TraceIdLow
	parent.TraceIdHigh, child.TraceIdHigh = 7, 7
	child.References = []*thriftgen.SpanRef{{
		RefType:     thriftgen.SpanRefType_CHILD_OF,
		TraceIdLow:  parent.TraceIdLow,
		TraceIdHigh: parent.TraceIdHigh,
		SpanId:      parent.SpanId,
	}}
	child.StartTime += 10
	child.Tags = []*thriftgen.Tag{
		{Key: "string", VType: thriftgen.TagType_STRING, VStr: ptr("even-topic")},
		{Key: "bool", VType: thriftgen.TagType_BOOL, VBool: ptr(false)},
		{Key: "double", VType: thriftgen.TagType_DOUBLE, VDouble: ptr(0.5)},
		{Key: "long", VType: thriftgen.TagType_LONG, VLong: ptr(int64(-6))},
		{Key: "very long", VType: thriftgen.TagType_LONG, VLong: ptr(int64(math.MaxInt64))},
		{Key: "binary", VType: thriftgen.TagType_BINARY, VBinary: []byte{0, 255}},
	}
	child.Logs = []*thriftgen.Log{{
		Timestamp: child.StartTime + 5,
		Fields:    []*thriftgen.Tag{{Key: "event", VType: thriftgen.TagType_STRING, VStr: ptr("sent")}},
	}}
	batch := newBatch("sentence", parent, child)
	batch.Process.Tags = []*thriftgen.Tag{{Key: "client-uuid", VType: thriftgen.TagType_STRING, VStr: ptr("17")}}
	post(t, p, batch)

	id := "0000000000000007" + hexID(parent.TraceIdLow)
	trace, err := newQuery(t, p).Trace(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, id, trace.TraceID)
	require.Len(t, trace.Spans, 2)
	process := SpanProcess{ServiceName: "sentence", Tags: []Tag{{Key: "client-uuid", Value: "17"}}}
	require.Contains(t, trace.Spans, Span{
		TraceID:        id,
		SpanID:         hexID(parent.SpanId),
		OperationName:  "parent",
		References:     []Reference{},
		StartMicros:    Micros(parent.StartTime),
		DurationMicros: 1500,
		Tags:           []Tag{},
		Logs:           []Log{},
		Process:        process,
	})
	require.Contains(t, trace.Spans, Span{
		TraceID:        id,
		SpanID:         hexID(child.SpanId),
		OperationName:  "child",
		References:     []Reference{{RefType: ChildOf, TraceID: id, SpanID: hexID(parent.SpanId)}},
		StartMicros:    Micros(child.StartTime),
		DurationMicros: 1500,
		Tags: []Tag{
			{Key: "string", Value: "even-topic"},
			{Key: "bool", Value: false},
			{Key: "double", Value: 0.5},
			{Key: "long", Value: int64(-6)},
			{Key: "very long", Value: int64(math.MaxInt64)},
			{Key: "binary", Value: []byte{0, 255}},
		},
		Logs: []Log{{
			TimestampMicros: Micros(child.StartTime + 5),
			Fields:          []Tag{{Key: "event", Value: "sent"}},
		}},
		Process: process,
	})
}

func TestTracesOfAService(t *testing.T) {
	t.Parallel()
	p := StartForTest(t)
	q := newQuery(t, p)
	services, err := q.Services(t.Context())
	require.NoError(t, err)
	require.Empty(t, services)

	const young = 150 // more than the 100 that Jaeger gives when it is not told
	for range young {
		post(t, p, newBatch("stream", newSpan("young")))
	}
	old := newSpan("old")
	old.StartTime = time.Now().Add(-6 * 24 * time.Hour).UnixMicro()
	post(t, p, newBatch("stream", old))
	post(t, p, newBatch("answer", newSpan("other")))

	services, err = q.Services(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"answer", "stream"}, services)

	all, err := q.Traces(t.Context(), "stream", 1000)
	require.NoError(t, err)
	require.Len(t, all, young+1)
	require.Equal(t, hexID(old.TraceIdLow), all[young].TraceID, "the oldest comes last")
	require.Equal(t, "old", all[young].Spans[0].OperationName)

	some, err := q.Traces(t.Context(), "stream", 3)
	require.NoError(t, err)
	require.Len(t, some, 3)

	byID, err := q.TracesByID(t.Context(), []string{some[0].TraceID, "123", all[young].TraceID})
	require.NoError(t, err)
	require.Equal(t, []Trace{some[0], all[young]}, byID, "there is none with id 123")

	none, err := q.Traces(t.Context(), "nobody", 3)
	require.NoError(t, err)
	require.Empty(t, none)
}

func TestTraceTellsWhenThereIsNone(t *testing.T) {
	t.Parallel()
	p := StartForTest(t)
	_, err := newQuery(t, p).Trace(t.Context(), "123")
	require.ErrorIs(t, err, ErrNotFound)

	_, err = newQuery(t, p).Trace(t.Context(), "no id")
	require.ErrorContains(t, err, "status 400")

	require.NoError(t, p.Kill())
	_, err = newQuery(t, p).Services(t.Context())
	require.ErrorContains(t, err, "connection refused")
}

// A batch that the relay posts again after a crash does no harm.
func TestBatchPostedTwiceIsStoredOnce(t *testing.T) {
	t.Parallel()
	p := StartForTest(t)
	span := newSpan("twice")
	post(t, p, newBatch("stream", span))
	post(t, p, newBatch("stream", span))
	trace, err := newQuery(t, p).Trace(t.Context(), hexID(span.TraceIdLow))
	require.NoError(t, err)
	require.Len(t, trace.Spans, 1)
}
