package verdict

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"strconv"
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

// run is a system that has worked: its topics, and what Jaeger has.
type run struct {
	records []*kgo.Record
	stored  map[string][]Span // by trace
	begin   time.Time
}

// number lets a number go all the way, which takes 10 ms: its spans are written by the processes of that generation. lost takes away
// what never comes to tracing-topic, absent what does not come to Jaeger.
func (r *run) number(t *testing.T, n int64, generation string, lost, absent func(link) bool) {
	t.Helper()
	begin := r.begin.Add(time.Duration(n) * 10 * time.Millisecond)
	trace := strconv.FormatInt(n+0x100, 16)
	add := func(topic, value string) {
		r.records = append(r.records, &kgo.Record{Topic: topic, Value: []byte(value), Timestamp: begin,
			Headers: []kgo.RecordHeader{{Key: "uber-trace-id", Value: []byte(trace + ":1:0:1")}}})
	}
	add(numberTopic, fmt.Sprint(n))
	if n%2 == 0 {
		add(evenTopic, fmt.Sprint(n))
		add(answerTopic, fmt.Sprintf(`{"number":%d}`, n))
	} else {
		add(oddTopic, fmt.Sprint(n))
	}
	for i, l := range links(n) {
		if lost(l) {
			continue
		}
		span := &thrift.Span{
			TraceIdLow: n + 0x100, SpanId: int64(i + 1), ParentSpanId: int64(l.parent + 1), OperationName: l.operation,
			StartTime: begin.UnixMicro(), Flags: 1,
		}
		record := onTopic(t, l.service, generation, span)
		r.records = append(r.records, record)
		spans, strange := FromTopic([]*kgo.Record{record})
		require.Empty(t, strange)
		if !absent(l) {
			r.stored[trace] = append(r.stored[trace], spans...)
		}
	}
}

func onTopic(t *testing.T, service, process string, span *thrift.Span) *kgo.Record {
	t.Helper()
	head, err := batch.EncodeProcess(&thrift.Process{ServiceName: service, Tags: []*thrift.Tag{tag("client-uuid", process)}})
	require.NoError(t, err)
	body, err := batch.AppendSpan(nil, span)
	require.NoError(t, err)
	return &kgo.Record{Topic: tracingTopic, Value: batch.Encode(head, body, 1, 1, batch.Stats{})}
}

// start puts the records on a broker, and what is stored behind Jaeger's API.
func (r *run) start(t *testing.T) (brokers []string, query *jaeger.Query) {
	t.Helper()
	b := tracingtest.StartBroker(t)
	b.CreateTopics(t, 3, append(Topics(), numberTopic, tracingTopic, deadTopic)...)
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()))
	require.NoError(t, err)
	defer client.Close()
	require.NoError(t, client.ProduceSync(t.Context(), r.records...).FirstErr())

	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		stored := r.stored[path.Base(req.URL.Path)]
		if stored == nil {
			http.NotFound(w, req)
			return
		}
		var spans []any
		processes := map[string]any{}
		for i, s := range stored {
			id := fmt.Sprint("p", i)
			processes[id] = map[string]any{"serviceName": s.Service, "tags": []any{
				map[string]any{"key": "client-uuid", "type": "string", "value": s.Process["client-uuid"][len("string "):]},
			}}
			var references []any
			if s.ParentID != "" {
				references = append(references, map[string]any{"refType": "CHILD_OF", "traceID": s.TraceID, "spanID": s.ParentID})
			}
			spans = append(spans, map[string]any{"traceID": s.TraceID, "spanID": s.ID, "operationName": s.Operation, "startTime": s.Start,
				"references": references, "processID": id})
		}
		assert.NoError(t, json.NewEncoder(w).Encode(map[string]any{"data": []any{
			map[string]any{"traceID": stored[0].TraceID, "spans": spans, "processes": processes},
		}}))
	}))
	t.Cleanup(server.Close)
	query = jaeger.NewQuery(server.URL)
	t.Cleanup(query.Close)
	return []string{b.Addr()}, query
}

func never(link) bool { return false }

func of(service string) func(link) bool { return func(l link) bool { return l.service == service } }

// A kill -9 takes along what the process had not sent. That is told apart from what was sent and is not in Jaeger.
func TestWhatAKilledProcessHadNotSentIsToldApart(t *testing.T) {
	t.Parallel()
	r := &run{stored: map[string][]Span{}, begin: time.Now().Add(-time.Hour).Truncate(time.Millisecond)}
	for n := int64(1); n <= 10; n++ {
		r.number(t, n, "first", never, never)
	}
	for n := int64(300); n <= 304; n++ { // three seconds later
		r.number(t, n, "first", of("sentence"), never)
	}
	for n := int64(600); n <= 604; n++ {
		r.number(t, n, "second", never, never)
	}
	brokers, query := r.start(t)
	result, err := CheckAll(t.Context(), brokers, query)
	require.NoError(t, err)
	assert.Equal(t, 3*4, result.Lost)
	assert.Equal(t, map[string]int{"sentence": 3 * 4}, result.NotSent)
	assert.True(t, result.OnlyNotSent(), "%v", result.Problems)
	assert.False(t, result.NothingLost())
}

func TestALossThatNothingExplainsIsNone(t *testing.T) {
	t.Parallel()
	r := &run{stored: map[string][]Span{}, begin: time.Now().Add(-time.Hour).Truncate(time.Millisecond)}
	r.number(t, 2, "first", never, never)
	r.number(t, 300, "first", of("sentence"), never)
	r.number(t, 600, "first", never, never) // the same process goes on
	r.number(t, 900, "first", of("sentence"), never)
	brokers, query := r.start(t)
	result, err := CheckAll(t.Context(), brokers, query)
	require.NoError(t, err)
	assert.Equal(t, 2*4, result.Lost)
	assert.Empty(t, result.NotSent)
	assert.False(t, result.OnlyNotSent())
}

// In windows of one record and passes of a few numbers it finds what is found with everything in memory.
func TestPartsAddUp(t *testing.T) {
	t.Parallel()
	r := &run{stored: map[string][]Span{}, begin: time.Now().Add(-time.Hour).Truncate(time.Millisecond)}
	for n := int64(1); n <= 20; n++ {
		r.number(t, n, "first", never, never)
	}
	r.number(t, 21, "first", of("stream"), never)
	r.number(t, 22, "first", never, of("answer")) // set aside
	aside := r.records[len(r.records)-1]
	r.number(t, 24, "first", never, of("random")) // not in Jaeger, and nobody knows why
	r.number(t, 900, "second", never, never)
	r.records = append(r.records,
		&kgo.Record{Topic: numberTopic, Value: []byte("26")}, // on its way
		&kgo.Record{Topic: numberTopic, Value: []byte("no number")},
		&kgo.Record{Topic: tracingTopic, Value: []byte("poison"), Partition: 0},
		&kgo.Record{Topic: deadTopic, Value: aside.Value},
		&kgo.Record{Topic: tracingTopic, Value: aside.Value},
		onTopic(t, "topic-config", "only", &thrift.Span{TraceIdLow: 1, SpanId: 1, OperationName: "of no number"}),
	)
	brokers, query := r.start(t)
	fed, err := Fed(t.Context(), brokers)
	require.NoError(t, err)
	want, err := Check(t.Context(), brokers, query, fed)
	require.NoError(t, err)
	assert.Equal(t, "traces 21/24, spans 134/139, lost 5, duplicated 1", want.String())
	assert.Equal(t, map[string]int{"stream": 2}, want.NotSent)

	parts := check{brokers: brokers, query: query, bytesPerWindow: 1, numbersPerPass: 3}
	got, err := parts.run(t.Context())
	require.NoError(t, err)
	all, err := CheckAll(t.Context(), brokers, query)
	require.NoError(t, err)
	for _, r := range []*Result{&want, &got, &all} {
		assert.ElementsMatch(t, want.Problems, r.Problems)
		assert.NotEmpty(t, r.Example)
		if r != &want {
			r.Problems, r.Example = want.Problems, want.Example
		}
	}
	assert.Equal(t, want, got)
	assert.Equal(t, want, all)
}

func TestMemoryForgetsOnlyWhatIsLongPast(t *testing.T) {
	t.Parallel()
	m := newMemory()
	key := func(i int) spanKey { return spanKey{"1", strconv.Itoa(i)} }
	for i := range 3 * spansInMemory {
		require.True(t, m.add(key(i)))
		require.False(t, m.add(key(max(0, i-spansInMemory/2+1))), "%d", i)
		require.LessOrEqual(t, len(m.now)+len(m.before), spansInMemory)
	}
	assert.True(t, m.add(key(0)))
}
