package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/uber/jaeger-client-go/thrift-gen/jaeger"

	"fault-tolerant-tracing/services/internal/collectortest"
	"fault-tolerant-tracing/services/internal/deadletter"
)

// prompt is within what a good record arrives whatever lies around it. It takes
// milliseconds; a loaded machine may take longer, and one that waits for bad records
// much longer.
const prompt = 10 * time.Second

// Something in front of Jaeger refuses whatever is of one service.
func TestOneServiceThatIsAlwaysRefused(t *testing.T) {
	never := make(chan struct{})
	faults := map[string]collectortest.Answer{
		"closed connection": collectortest.HangUp,
		"never": func(w http.ResponseWriter, _ collectortest.Post) {
			<-never
			w.WriteHeader(504)
		},
	}
	for _, status := range []int{400, 403, 500, 503, 504} {
		faults[fmt.Sprint(status)] = collectortest.Status(status)
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			collector := collectortest.Start(t, func(w http.ResponseWriter, p collectortest.Post) {
				if slices.Contains(p.Services, "guilty") {
					fault(w, p)
					return
				}
				w.WriteHeader(202)
			})
			r := startRelay(t, collector.URL())
			others := operations("other", 20)
			r.put(in(0, encode(t, "guilty", newSpan("guilty")))...)
			r.eventually("it is tried", func() bool { return collector.Posts() > 0 })
			for i, operation := range others {
				r.put(in(int32(i%2), newBatch(t, operation))...)
			}
			began := time.Now()
			for _, operation := range others {
				r.eventually("the others are delivered", func() bool { return collector.Taken(operation) == 1 })
			}
			assert.Less(t, time.Since(began), prompt)
			if name == "never" { // it has so many tries of ten seconds each; see package dispatch
				close(never)
			}
			more := r.traffic(1)
			letters := r.letters(1)
			more.stop()
			require.Len(t, letters, 1)
			assert.Regexp(t, "jaeger answered|EOF|reset", letters[0].Reason)
			if status := strings.TrimLeft(name, "abcdefghijklmnopqrstuvwxyz "); status != "" {
				assert.Contains(t, letters[0].Reason, "jaeger answered "+status)
			}
			r.eventually("all is finished", func() bool { return r.committed() == int64(21+len(more.written)) })
			assert.Len(t, r.setAside(), 1)
			assert.LessOrEqual(t, r.holds(), 1)
		})
	}
}

func TestARunOfRecordsThatJaegerCannotTake(t *testing.T) {
	t.Parallel()
	jaeger := startBadger(t)
	r := startRelay(t, jaeger.URL())
	good := r.traffic(1)
	const n = 120
	for i := range n {
		r.put(in(0, encode(t, "test", newSpan(fmt.Sprint("bad-", i), largeTag())))...)
	}
	r.awaitSetAside(n)
	good.requirePrompt(r, jaeger.arrived, prompt)
	requireSpans(t, r, operations("bad", n)...)
	r.eventually("all is finished", func() bool { return r.committed() == int64(n+len(good.written)) })
	assert.LessOrEqual(t, r.holds(), 1)
}

// requireSpans requires that these spans were set aside, each once and alone.
func requireSpans(t *testing.T, r *rig, want ...string) {
	t.Helper()
	var got []string
	for _, letter := range r.letters(len(want)) {
		names := spansOf(t, letter)
		assert.Len(t, names, 1)
		got = append(got, names...)
	}
	assert.ElementsMatch(t, want, got)
}

func TestRecordsWithManySpansThatJaegerCannotTake(t *testing.T) {
	t.Parallel()
	store := startBadger(t)
	r := startRelay(t, store.URL())
	var bad []string
	for i := range 8 {
		spans := []*jaeger.Span{newSpan(fmt.Sprint("among-", i))}
		for _, name := range operations(fmt.Sprint("bad-", i), 12) {
			spans = append(spans, newSpan(name, largeTag()))
			bad = append(bad, name)
		}
		r.put(in(0, encode(t, "test", spans...))...)
	}
	good := r.traffic(1)
	r.awaitSetAside(len(bad))
	good.requirePrompt(r, store.arrived, prompt)
	for i := range 8 {
		assert.True(t, store.has(fmt.Sprint("among-", i)))
	}
	requireSpans(t, r, bad...)
	r.eventually("all is finished", func() bool { return r.committed() == int64(8+len(good.written)) })
	assert.LessOrEqual(t, r.holds(), 1)
}

// More than the relay holds in memory, and then a backlog.
func TestMoreThanFitsIntoMemoryThatJaegerCannotTake(t *testing.T) {
	t.Parallel()
	store := startBadger(t)
	r := newRig(t)
	r.broker.CreateTopics(t, 1, dlq)
	const bad, spans, backlog = 20, 12, 2000
	var names []string
	for i := range bad {
		var list []*jaeger.Span
		for _, name := range operations(fmt.Sprint("bad-", i), spans) {
			list = append(list, newSpan(name, largeTag()))
			names = append(names, name)
		}
		r.put(in(int32(i%3), encode(t, "test", list...))...)
	}
	var values [][]byte
	for i := range backlog {
		values = append(values, newBatch(t, operations(fmt.Sprint("backlog-", i), 10)...))
	}
	r.put(in(0, values...)...)
	r.start(store.URL())
	good := r.traffic(1)
	for i := range backlog {
		r.eventually("the backlog is delivered", func() bool { return store.has(fmt.Sprint("backlog-", i, "-0")) })
	}
	good.requirePrompt(r, store.arrived, 2*prompt)
	evidence := r.traffic(1)
	r.awaitSetAside(len(names))
	evidence.stop()
	requireSpans(t, r, names...)
	r.eventually("all is finished", func() bool { return r.committed() == int64(bad+backlog+len(good.written)+len(evidence.written)) })
	assert.LessOrEqual(t, r.holds(), 3)
}

func TestTheGoodSpansOfABadRecordAreStored(t *testing.T) {
	t.Parallel()
	store := startBadger(t)
	r := startRelay(t, store.URL())
	names := operations("span", 9)
	var spans []*jaeger.Span
	for i, name := range names {
		span := newSpan(name)
		if i == 4 {
			span.Logs = []*jaeger.Log{{Fields: []*jaeger.Tag{largeTag()}}}
		}
		spans = append(spans, span)
	}
	value := encode(t, "test", spans...)
	r.put(in(0, value)...)
	good := r.traffic(1)
	letters := r.letters(1)
	good.stop()
	r.eventually("all is finished", func() bool { return r.committed() == int64(1+len(good.written)) })
	requireSpans(t, r, names[4])
	for i, name := range names {
		assert.Equal(t, i != 4, store.has(name), name)
	}
	assert.Equal(t, encode(t, "test", spans[4]), letters[0].Value, "that span and the process")
	assert.Contains(t, letters[0].Reason, "jaeger answered 500")
	assert.EqualValues(t, 1, r.status()["parts_set_aside"])
}

// Everything at once.
func TestAMixOfAllThatIsBad(t *testing.T) {
	t.Parallel()
	store := startBadger(t)
	r := newRig(t)
	r.broker.CreateTopics(t, 1, dlq)
	const garbage, large, null, huge, good = 1000, 30, 200, 5, 1000
	var values [][]byte
	for i := range garbage {
		values = append(values, fmt.Append(nil, "garbage ", i))
	}
	for i := range large {
		values = append(values, encode(t, "test", newSpan(fmt.Sprint("bad-", i), largeTag())))
	}
	for range null {
		values = append(values, nil)
	}
	for range huge {
		values = append(values, []byte(strings.Repeat("x", 1_000_000)))
	}
	for i := range good {
		values = append(values, newBatch(t, fmt.Sprint("among-", i)))
	}
	rand.Shuffle(len(values), func(i, j int) { values[i], values[j] = values[j], values[i] })
	for i := range 3 {
		r.put(in(int32(i), values[i*len(values)/3:(i+1)*len(values)/3]...)...)
	}
	r.start(store.URL())
	more := r.traffic(1)
	for i := range good {
		r.eventually("the good ones are delivered", func() bool { return store.has(fmt.Sprint("among-", i)) })
	}
	r.awaitSetAside(garbage + large + huge)
	more.stop()
	r.eventually("all is finished", func() bool { return r.committed() == int64(len(values)+len(more.written)) })
	requireEachLetterOnce(t, r, garbage+large+huge)
	assert.LessOrEqual(t, r.holds(), 3)
}

// requireEachLetterOnce requires so many letters, of different records.
func requireEachLetterOnce(t *testing.T, r *rig, n int) {
	t.Helper()
	letters := r.letters(n)
	assert.Len(t, letters, n)
	from := map[string]int{}
	for _, letter := range letters {
		from[fmt.Sprint(letter.Partition, "/", letter.Offset)]++
	}
	for place, copies := range from {
		assert.Equal(t, 1, copies, place)
	}
}

// A backend in trouble refuses half of the posts, whatever is in them.
func TestEverySecondPostIsRefused(t *testing.T) {
	for _, status := range []int{500, 503} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			var posts atomic.Int64
			const n = 1000
			r, collector := backlog(t, n, func(w http.ResponseWriter, _ collectortest.Post) {
				if posts.Add(1)%2 == 0 {
					w.WriteHeader(status)
					return
				}
				w.WriteHeader(202)
			})
			r.eventually("all is delivered", func() bool { return r.committed() == n })
			requireOnce(t, collector, n)
			assert.Empty(t, r.setAside())
			assert.Less(t, posts.Load(), int64(n), "posts of many spans")
			t.Log(posts.Load(), "posts,", r.holds(), "times holding")
		})
	}
}

func TestADeadLetterTopicThatIsMadeLater(t *testing.T) {
	t.Parallel()
	collector := collectortest.Start(t, collectortest.Status(202))
	r := newRig(t)
	r.start(collector.URL())
	const n = 100
	for i := range n {
		r.put(in(int32(i%3), fmt.Append(nil, "garbage ", i), newBatch(t, fmt.Sprint("good-", i)))...)
	}
	began := time.Now()
	for i := range n {
		r.eventually("the good ones are delivered", func() bool { return collector.Taken(fmt.Sprint("good-", i)) == 1 })
	}
	assert.Less(t, time.Since(began), prompt)
	r.eventually("the letters wait", func() bool { return r.status()["dead_letters_waiting"] == float64(n) })
	r.eventually("it is told why", func() bool { return r.status()["dead_letters_error"] != nil })
	assert.EqualValues(t, n, r.metric("consumer_dead_letters_waiting"))
	assert.EqualValues(t, 1, r.metric("consumer_dead_letters_failing"))
	assert.Equal(t, "delivering", r.status()["state"])

	r.broker.CreateTopics(t, 1, dlq)
	r.eventually("all is finished", func() bool { return r.committed() == 2*n })
	requireEachLetterOnce(t, r, n)
	r.eventually("that is over", func() bool { return r.status()["dead_letters_error"] == nil })
	assert.Zero(t, r.metric("consumer_dead_letters_waiting"))
	assert.Zero(t, r.metric("consumer_dead_letters_failing"))
}

func TestADeadLetterTopicThatTakesOnlySmallRecords(t *testing.T) {
	t.Parallel()
	collector := collectortest.Start(t, collectortest.Status(202))
	r := newRig(t)
	r.makeDLQ(500)
	r.start(collector.URL())
	const n = 30
	value := []byte(strings.Repeat("garbage ", 100))
	for i := range n {
		r.put(in(int32(i%3), value, newBatch(t, fmt.Sprint("good-", i)))...)
	}
	for i := range n {
		r.eventually("the good ones are delivered", func() bool { return collector.Taken(fmt.Sprint("good-", i)) == 1 })
	}
	r.eventually("all is finished", func() bool { return r.committed() == 2*n })
	requireEachLetterOnce(t, r, n)
	for _, letter := range r.letters(n) {
		assert.Equal(t, len(value), letter.CutFrom)
		assert.Equal(t, value[:len(letter.Value)], letter.Value)
		assert.Equal(t, topic, letter.Topic)
	}
	assert.EqualValues(t, n, r.metric("relay_dead_letters_cut_total"))
	assert.Zero(t, r.metric("consumer_dead_letters_failing"))
}

// Compressed, a record of any size comes through a topic with the usual limit. What is
// set aside of it says where the whole is.
func TestGarbageThatIsLargerThanADeadLetterIsCut(t *testing.T) {
	t.Parallel()
	collector := collectortest.Start(t, collectortest.Status(202))
	r := newRig(t)
	r.makeDLQ(deadletter.MaxBytes)
	r.start(collector.URL())
	garbage := func(n int) []byte { return []byte(strings.Repeat("x", n)) }
	long := []kgo.RecordHeader{{Key: "long", Value: garbage(1_200_000)}, {Key: "short", Value: []byte("kept")}}
	bad := []*kgo.Record{
		{Value: garbage(3_000_000)},
		{Value: garbage(7_000_000)},
		{Value: garbage(1_000_000), Headers: long},
	}
	r.putCompressed(bad...)
	names := operations("good", 20)
	for _, name := range names {
		r.put(in(0, newBatch(t, name))...)
	}
	for _, name := range names {
		r.eventually("the good ones are delivered", func() bool { return collector.Taken(name) == 1 })
	}
	r.eventually("all is finished", func() bool { return r.committed() == 23 })
	letters := r.letters(3)
	require.Len(t, letters, 3)
	slices.SortFunc(letters, func(a, b deadletter.Entry) int { return int(a.Offset - b.Offset) })
	for i, size := range []int{3_000_000, 7_000_000, 1_000_000 + len("long") + 1_200_000 + len("short") + len("kept")} {
		assert.Equal(t, size, letters[i].CutFrom)
		assert.Equal(t, []any{topic, int32(0), int64(i)}, []any{letters[i].Topic, letters[i].Partition, letters[i].Offset})
		assert.Contains(t, letters[i].Reason, "no batch of spans")
		assert.NotEmpty(t, letters[i].Value)
	}
	require.Len(t, letters[2].Headers, 1)
	assert.Equal(t, "short", letters[2].Headers[0].Key)
}

// Clients write what they like as a timestamp.
func TestTimestampsThatCannotBeRight(t *testing.T) {
	t.Parallel()
	collector := collectortest.Start(t, collectortest.Status(503))
	r := startRelay(t, collector.URL())
	now := time.Now()
	times := map[string]time.Time{
		"zero":          time.UnixMilli(0),
		"microseconds":  time.UnixMilli(now.UnixMicro()),
		"the year 2100": time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	for name, at := range times {
		r.put(&kgo.Record{Value: newBatch(t, name), Timestamp: at})
	}
	r.eventually("all are read", func() bool { return r.pending() == 3 })
	assert.Zero(t, r.metric("consumer_oldest_unfinished_age_seconds"))
	assert.Nil(t, r.status()["oldest_unfinished"])
	r.put(&kgo.Record{Value: newBatch(t, "ahead"), Timestamp: now.Add(10 * time.Minute)})
	r.eventually("all are read", func() bool { return r.pending() == 4 })
	assert.Zero(t, r.metric("consumer_oldest_unfinished_age_seconds"), "a clock that is ahead makes no age")
	collector.Answer(collectortest.Status(202))
	r.eventually("all is delivered", func() bool { return r.committed() == 4 })
	assert.EqualValues(t, 1, r.metric("relay_delivery_delay_seconds_count"), "only where the time may be right")
	assert.Zero(t, r.metric("relay_delivery_delay_seconds_sum"))
}

// Jaeger would answer 202 and store the first of two batches alone.
func TestABatchWithMoreBehindIt(t *testing.T) {
	t.Parallel()
	collector := collectortest.Start(t, collectortest.Status(202))
	r := startRelay(t, collector.URL())
	other := newBatch(t, operations("second", 9)...)
	values := [][]byte{append(newBatch(t, "first"), other[:200]...), append(newBatch(t, "first"), other...)}
	r.put(in(0, values...)...)
	r.put(in(0, newBatch(t, "good"))...)
	r.eventually("all is finished", func() bool { return r.committed() == 3 })
	assert.Equal(t, 1, collector.Posts())
	assert.Equal(t, 1, collector.Taken("good"))
	letters := r.letters(2)
	require.Len(t, letters, 2)
	for _, letter := range letters {
		assert.Equal(t, values[letter.Offset], letter.Value)
		assert.Contains(t, letter.Reason, "behind the end of the batch")
	}
}

// Jaeger would make room for what a list claims.
func TestAListThatClaimsMoreThanItHas(t *testing.T) {
	t.Parallel()
	collector := collectortest.Start(t, collectortest.Status(202))
	r := startRelay(t, collector.URL())
	const n = 40
	empty := encode(t, "test")
	claim := len(empty) - 1 - 4 // the size of the list, before the end of the batch
	require.Zero(t, binary.BigEndian.Uint32(empty[claim:]))
	for range n {
		value := append(slices.Clone(empty), make([]byte, 50-len(empty))...)
		binary.BigEndian.PutUint32(value[claim:], 100_000_000)
		r.put(in(0, value)...)
	}
	r.eventually("all is finished", func() bool { return r.committed() == n })
	assert.Zero(t, collector.Posts())
	requireEachLetterOnce(t, r, n)
}

// Of two relays one is told to stop, again and again, under load.
func TestAStopSendsNothingAgain(t *testing.T) {
	for name, members := range map[string][]string{
		"static members":  {"GROUP_INSTANCE_ID=relay-1", "GROUP_INSTANCE_ID=relay-2"},
		"dynamic members": {"GROUP_INSTANCE_ID=", "GROUP_INSTANCE_ID="},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			collector := collectortest.Start(t, func(w http.ResponseWriter, _ collectortest.Post) {
				time.Sleep(time.Duration(rand.IntN(400)) * time.Millisecond) // a post takes its time
				w.WriteHeader(202)
			})
			r := newRig(t)
			r.broker.CreateTopics(t, 1, dlq)
			r.start(collector.URL(), members[0])
			other := &rig{t: t, broker: r.broker, client: r.client}
			good := r.traffic(20)
			assigned := func(r *rig) int { list, _ := r.status()["partitions"].([]any); return len(list) }
			for range 4 {
				other.start(collector.URL(), members[1])
				r.eventually("both have partitions", func() bool { return assigned(r) > 0 && assigned(other) > 0 && assigned(r)+assigned(other) == 3 })
				before := other.count("done")
				r.eventually("both work", func() bool { return other.count("done") > before+200 })
				require.NoError(t, other.stop())
			}
			good.stop()
			r.eventually("all is finished", func() bool { return r.committed() == int64(len(good.written)) })
			for name := range good.written {
				assert.Equal(t, 1, collector.Taken(name), name)
			}
		})
	}
}
