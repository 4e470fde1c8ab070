package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/uber/jaeger-client-go/thrift-gen/jaeger"

	"fault-tolerant-tracing/services/internal/collectortest"
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
				if p.Batch.Process.ServiceName == "guilty" {
					fault(w, p)
					return
				}
				w.WriteHeader(202)
			})
			r := startRelay(t, collector.URL())
			others := operations("other", 20)
			r.put(in(0, encode(t, "guilty", newSpan("guilty")))...)
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
			more := r.traffic()
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
	good := r.traffic()
	const n = 120
	for i := range n {
		r.put(in(0, encode(t, "test", newSpan(fmt.Sprint("bad-", i), largeTag())))...)
	}
	r.eventually("all are set aside", func() bool { return r.count("set_aside") == n })
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
	good := r.traffic()
	r.eventually("what is bad is set aside", func() bool { return r.count("set_aside") == len(bad) })
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
	good := r.traffic()
	began := time.Now()
	r.eventually("the backlog is delivered", func() bool { return store.has(fmt.Sprint("backlog-", backlog-1, "-9")) })
	for i := range backlog {
		r.eventually("the backlog is delivered", func() bool { return store.has(fmt.Sprint("backlog-", i, "-0")) })
	}
	t.Log("the backlog took", time.Since(began))
	good.requirePrompt(r, store.arrived, 2*prompt)
	evidence := r.traffic()
	require.Eventually(t, func() bool { return r.count("set_aside") == len(names) }, 3*patience, 50*time.Millisecond, "what is bad is set aside")
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
		switch i {
		case 4:
			span.Logs = []*jaeger.Log{{Fields: []*jaeger.Tag{largeTag()}}}
		}
		spans = append(spans, span)
	}
	value := encode(t, "test", spans...)
	r.put(in(0, value)...)
	good := r.traffic()
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
	const garbage, large, null, huge, good = 5000, 60, 1000, 20, 5000
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
	began := time.Now()
	r.start(store.URL())
	more := r.traffic()
	for i := range good {
		r.eventually("the good ones are delivered", func() bool { return store.has(fmt.Sprint("among-", i)) })
	}
	t.Log("the good ones took", time.Since(began))
	for range 40 {
		st := r.status()
		t.Log("PROGRESS", time.Since(began).Round(time.Second), r.count("set_aside"), st["suspects"], st["parked"], st["waiting"], st["counts"], st["dead_letters_waiting"])
		time.Sleep(time.Second)
	}
	r.eventually("the rest is set aside", func() bool { return r.count("set_aside") == garbage+large+huge })
	t.Log("the rest took", time.Since(began))
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
			r, collector := backlog(t, n, func(w http.ResponseWriter, p collectortest.Post) {
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
	t.Log("STATUS", r.status())
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
