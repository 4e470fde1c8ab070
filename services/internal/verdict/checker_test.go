package verdict

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	thrift "github.com/uber/jaeger-client-go/thrift-gen/jaeger"

	"fault-tolerant-tracing/services/internal/jaeger"
	"fault-tolerant-tracing/tracing/batch"
	"fault-tolerant-tracing/tracing/tracingtest"
)

// run is a system that works: its topics, and what Jaeger has.
type run struct {
	brokers []string
	query   *jaeger.Query
	begin   time.Time
	records []*kgo.Record // to be written

	mu     sync.Mutex
	stored map[string][]Span // by trace
	asked  map[string]int    // the same
}

// start starts a broker with empty topics, and Jaeger's API.
func start(t *testing.T) *run {
	t.Helper()
	r := &run{stored: map[string][]Span{}, asked: map[string]int{}, begin: time.Now().Add(-time.Hour).Truncate(time.Millisecond)}
	b := tracingtest.StartBroker(t)
	b.CreateTopics(t, 3, numberTopic, evenTopic, oddTopic, answerTopic, tracingTopic, deadTopic)
	r.brokers = []string{b.Addr()}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		found := []any{}
		for _, id := range req.URL.Query()["traceID"] {
			if r.asked[id]++; r.stored[id] != nil {
				found = append(found, shown(r.stored[id]))
			}
		}
		assert.NoError(t, json.NewEncoder(w).Encode(map[string]any{"data": found}))
	}))
	t.Cleanup(server.Close)
	r.query = jaeger.NewQuery(server.URL)
	t.Cleanup(r.query.Close)
	return r
}

// shown is a trace as Jaeger's API shows it.
func shown(stored []Span) any {
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
	return map[string]any{"traceID": stored[0].TraceID, "spans": spans, "processes": processes}
}

// write writes the records that are to be written.
func (r *run) write(t *testing.T) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(r.brokers...))
	require.NoError(t, err)
	defer client.Close()
	require.NoError(t, client.ProduceSync(t.Context(), r.records...).FirstErr())
	r.records = nil
}

// check writes the records that are to be written, and checks everything anew.
func (r *run) check(t *testing.T) Result {
	t.Helper()
	r.write(t)
	return again(t, r.checker())
}

func (r *run) checker() *Checker { return New(r.brokers, r.brokers, r.query) }

func again(t *testing.T, c *Checker) Result {
	t.Helper()
	result, err := c.Check(t.Context())
	require.NoError(t, err)
	return result
}

// number lets a number go all the way, which takes 10 ms: its spans are written by the processes of that generation. lost takes away
// what never comes to tracing-topic, absent what does not come to Jaeger.
func (r *run) number(t *testing.T, n int64, generation string, lost, absent func(link) bool) {
	t.Helper()
	r.records = append(r.records, &kgo.Record{Topic: numberTopic, Value: fmt.Append(nil, n), Timestamp: r.at(n)})
	r.pass(t, n, n+0x100, generation, lost, absent)
}

func (r *run) at(n int64) time.Time { return r.begin.Add(time.Duration(n) * 10 * time.Millisecond) }

// pass lets a number that is fed go the rest of the way, in a trace.
func (r *run) pass(t *testing.T, n, trace int64, generation string, lost, absent func(link) bool) {
	t.Helper()
	begin := r.at(n)
	add := func(topic, value string) {
		r.records = append(r.records, &kgo.Record{Topic: topic, Value: []byte(value), Timestamp: begin,
			Headers: []kgo.RecordHeader{{Key: "uber-trace-id", Value: []byte(strconv.FormatInt(trace, 16) + ":1:0:1")}}})
	}
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
			TraceIdLow: trace, SpanId: int64(i + 1), ParentSpanId: int64(l.parent + 1), OperationName: l.operation,
			StartTime: begin.UnixMicro(), Flags: 1,
		}
		record := onTopic(t, l.service, generation, span)
		r.records = append(r.records, record)
		if !absent(l) {
			r.store(t, record)
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

// store puts a record of tracing-topic into Jaeger.
func (r *run) store(t *testing.T, record *kgo.Record) {
	t.Helper()
	spans, err := FromTopic(record.Value)
	require.NoError(t, err)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range spans {
		r.stored[s.TraceID] = append(r.stored[s.TraceID], s)
	}
}

func never(link) bool { return false }

func of(service string) func(link) bool { return func(l link) bool { return l.service == service } }

// A kill -9 takes along what the process had not sent. That is told apart from what was sent and is not in Jaeger.
func TestWhatAKilledProcessHadNotSentIsToldApart(t *testing.T) {
	t.Parallel()
	r := start(t)
	for n := int64(1); n <= 10; n++ {
		r.number(t, n, "first", never, never)
	}
	for n := int64(300); n <= 304; n++ { // three seconds later
		r.number(t, n, "first", of("random"), never)
	}
	for n := int64(600); n <= 604; n++ {
		r.number(t, n, "second", never, never)
	}
	result := r.check(t)
	assert.Equal(t, 3, result.Lost)
	assert.Equal(t, 3, result.NotSent)
	assert.True(t, result.OnlyNotSent(), "%v", result.Problems)
	assert.False(t, result.NothingLost())
}

func TestALossThatNothingExplainsIsNone(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.number(t, 2, "first", never, never)
	r.number(t, 300, "first", of("random"), never)
	r.number(t, 600, "first", never, never) // the same process goes on
	r.number(t, 700, "first", of("sentence"), never)
	r.number(t, 900, "second", never, never) // another one, but sentence does again what it had not sent
	r.number(t, 1200, "second", of("random"), never)
	result := r.check(t)
	assert.Equal(t, 1+4+1, result.Lost)
	assert.Zero(t, result.NotSent)
	assert.False(t, result.OnlyNotSent())
}

// Killed before its spans were safe, stream does a number again, in another trace: one of them has to be whole.
func TestWhatStreamDidAgainHasItsTrace(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name          string
		first, second func(link) bool // what is lost in which trace
		lost          int
	}{
		{"the second trace is whole", of("stream"), never, 0},
		{"the first trace is whole", never, of("stream"), 0},
		{"neither is whole", of("stream"), of("stream"), 2},
		{"the second trace lacks what random, killed too, had not sent", of("stream"), of("random"), 1},
		{"what another service lacks is lost", of("sentence"), never, 4},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := start(t)
			r.number(t, 2, "first", tt.first, never)
			r.pass(t, 2, 0x999, "second", tt.second, never)
			r.number(t, 4, "second", never, never)
			c := r.checker()
			r.write(t)
			for range 3 {
				result := again(t, c)
				assert.Equal(t, tt.lost, result.Lost)
				assert.Equal(t, tt.lost < 2, result.OnlyNotSent())
				assert.Equal(t, 2, result.TracesExpected)
			}
		})
	}
}

// Call by call it finds what is found at once, and asks for each trace that is open once in each call.
func TestItGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	r := start(t)
	var steps []int
	c := r.checker()
	c.Progress = func(_, _, s int) { steps = append(steps, s) }
	for n := int64(1); n <= 20; n++ {
		r.number(t, n, "first", never, never)
		if n%5 == 0 {
			r.write(t)
			result := again(t, c)
			assert.True(t, result.Complete(), "%v", result.Problems)
			assert.Equal(t, int(n), result.Traces)
		}
	}
	for id, asked := range r.asked {
		assert.Equal(t, 1, asked, "trace %s", id)
	}
	assert.IsIncreasing(t, slices.Compact(slices.Clone(steps)))
	last := len(steps)
	again(t, c)
	assert.Equal(t, steps[last-1:last:last], slices.Compact(steps[last-1:]), "nothing has happened")

	r.number(t, 28, "first", of("random"), never)
	r.number(t, 22, "first", never, of("answer")) // set aside
	aside := r.records[len(r.records)-1]
	r.number(t, 24, "first", never, of("random")) // not in Jaeger, and nobody knows why
	random := r.records[len(r.records)-4]
	r.number(t, 900, "second", never, never)
	other := onTopic(t, "topic-config", "only", &thrift.Span{TraceIdLow: 1, SpanId: 1, OperationName: "of no number", StartTime: 5})
	r.store(t, other)
	r.stored["1"][0].Start = 6
	r.records = append(r.records,
		&kgo.Record{Topic: numberTopic, Value: []byte("26")}, // on its way
		&kgo.Record{Topic: numberTopic, Value: []byte("no number")},
		&kgo.Record{Topic: tracingTopic, Value: []byte("poison")},
		&kgo.Record{Topic: deadTopic, Value: aside.Value, Headers: []kgo.RecordHeader{{Key: "dlq.reason", Value: []byte("why")}}},
		&kgo.Record{Topic: tracingTopic, Value: aside.Value},
		other,
	)
	r.write(t)
	clear(r.asked)
	got := again(t, c)
	assert.Equal(t, map[string]int{"11c": 1, "116": 1, "118": 1, "484": 1, "1": 1}, r.asked, "number 28, 22, 24, 900 and no number")
	assert.Equal(t, "traces 21/24, spans 142/146, lost 3, duplicated 1", got.String())
	assert.Equal(t, 1, got.NotSent)
	assert.Equal(t, 25, got.NumbersFed)
	assert.Equal(t, 1, got.SetAside)
	assert.Equal(t, 1, got.TopicDiffer)
	assert.Equal(t, 1+1+1, got.TopicMissing) // the other span of answer, random, poison
	assert.Contains(t, got.Problems, "span 1 (topic-config: of no number) of trace 1: start is 6 and was written as 5")

	anew := again(t, r.checker())
	assert.NotEmpty(t, anew.Example)
	anew.Example = got.Example
	assert.ElementsMatch(t, anew.Problems, got.Problems)
	anew.Problems = got.Problems
	assert.Equal(t, anew, got)

	r.store(t, random)
	got = again(t, c)
	assert.Equal(t, "traces 22/24, spans 143/146, lost 2, duplicated 1", got.String())
	assert.Equal(t, 2, got.TopicMissing)
}

func TestItBeginsAgainWhenATopicWasMadeAnew(t *testing.T) {
	t.Parallel()
	r := start(t)
	for n := int64(1); n <= 20; n++ {
		r.number(t, n, "first", never, never)
	}
	r.write(t)
	c := r.checker()
	require.Equal(t, 20, again(t, c).Traces)

	client, err := kgo.NewClient(kgo.SeedBrokers(r.brokers...))
	require.NoError(t, err)
	defer client.Close()
	admin := kadm.NewClient(client)
	_, err = admin.DeleteTopics(t.Context(), numberTopic)
	require.NoError(t, err)
	_, err = admin.CreateTopics(t.Context(), 3, 1, nil, numberTopic)
	require.NoError(t, err)
	for n := range 100 { // more than before
		r.records = append(r.records, &kgo.Record{Topic: numberTopic, Value: fmt.Append(nil, n+101)})
	}
	r.write(t)
	result := again(t, c)
	assert.Equal(t, 100, result.NumbersFed)
	assert.Zero(t, result.NumbersArrived)
	assert.Equal(t, 10*9+10*2, result.TopicSpans)

	ends, err := admin.ListEndOffsets(t.Context(), tracingTopic)
	require.NoError(t, err)
	_, err = admin.DeleteRecords(t.Context(), ends.Offsets())
	require.NoError(t, err)
	r.records = append(r.records, &kgo.Record{Topic: numberTopic, Value: []byte("2")})
	result = r.check(t)
	assert.Equal(t, "traces 1/1, spans 9/9, lost 0, duplicated 0", result.String())
	assert.Equal(t, 101, result.NumbersFed)
	assert.Zero(t, result.TopicSpans, "it was emptied")
	assert.Equal(t, "traces 1/1, spans 9/9, lost 0, duplicated 0", again(t, c).String())
}

func TestScanReadsEachTopicToItsEnd(t *testing.T) {
	t.Parallel()
	b := tracingtest.StartBroker(t)
	b.CreateTopics(t, 3, "full", "empty", "emptied", "unasked")
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	require.NoError(t, err)
	defer client.Close()
	for _, topic := range []string{"full", "emptied", "unasked"} {
		for range 100 {
			require.NoError(t, client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte("v")}).FirstErr())
		}
	}
	admin := kadm.NewClient(client)
	ends, err := admin.ListEndOffsets(t.Context(), "emptied")
	require.NoError(t, err)
	_, err = admin.DeleteRecords(t.Context(), ends.Offsets())
	require.NoError(t, err)
	records := 0
	count := func(*kgo.Record) error { records++; return nil }
	require.NoError(t, Scan(t.Context(), []string{b.Addr()}, count, "full", "empty", "emptied"))
	assert.Equal(t, 100, records)
	assert.ErrorContains(t, Scan(t.Context(), []string{b.Addr()}, count, "missing"), "read [missing]")
	assert.ErrorIs(t, Scan(t.Context(), []string{b.Addr()}, func(*kgo.Record) error { return assert.AnError }, "full"), assert.AnError)
}
