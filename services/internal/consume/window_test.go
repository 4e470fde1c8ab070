package consume

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var errAway = errors.New("away")

func newTestWindow(ordered bool, partitions ...int32) *window {
	w := newWindow(Config{Ordered: ordered, InFlight: 100, Log: slog.New(slog.DiscardHandler)})
	w.assign(partitions)
	return w
}

func record(partition int32, offset int) *kafka.Message {
	topic := "topic"
	return &kafka.Message{
		TopicPartition: kafka.TopicPartition{Topic: &topic, Partition: partition, Offset: kafka.Offset(offset)},
		Value:          []byte("value"),
	}
}

// takeNow returns the record that may be tried at this moment, or nil.
func takeNow(w *window) *Record {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e, _ := w.pick(time.Now()); e != nil {
		return w.try(e)[0]
	}
	return nil
}

func take(t *testing.T, w *window) *Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	records := w.take(ctx)
	require.Len(t, records, 1, "no record may be tried within a minute")
	return records[0]
}

// finished returns the offsets that may be committed, which must not go back.
func finished(w *window) map[int32]int64 {
	moved, back := w.finished()
	if back != nil {
		panic(back)
	}
	return moved
}

func offset(r *Record) int { return int(r.TopicPartition.Offset) }

func TestOnlyTheContiguousPrefixIsCommitted(t *testing.T) {
	w := newTestWindow(false, 0)
	for i := range 4 {
		w.add(record(0, 10+i))
	}
	rs := []*Record{takeNow(w), takeNow(w), takeNow(w), takeNow(w)}
	assert.Empty(t, finished(w), "nothing is finished")
	w.finish(rs[1], nil)
	w.finish(rs[3], nil)
	assert.Empty(t, finished(w), "the first record is not finished")
	w.finish(rs[0], nil)
	assert.Equal(t, map[int32]int64{0: 12}, finished(w))
	assert.Empty(t, finished(w), "handed out once")
	w.finish(rs[2], Permanent(errAway))
	assert.Equal(t, map[int32]int64{0: 14}, finished(w), "what is set aside counts as finished")
	assert.Zero(t, w.records)
	assert.Zero(t, w.bytes)
}

func TestWhatIsFinishedAfterARevokeIsForgotten(t *testing.T) {
	w := newTestWindow(false, 0, 1)
	w.add(record(0, 5))
	w.add(record(0, 6))
	w.add(record(1, 1))
	flying := takeNow(w)
	dropped := w.forget([]int32{0})
	require.Len(t, dropped, 1)
	assert.Equal(t, 6, offset(dropped[0]))
	w.add(record(0, 7)) // still in the client's queue
	w.assign([]int32{0})
	w.add(record(0, 5))
	w.finish(flying, nil)
	assert.Empty(t, finished(w), "the old record moves nothing in the new assignment")
	w.finish(takeNow(w), nil)
	w.finish(takeNow(w), nil)
	assert.Equal(t, map[int32]int64{0: 6, 1: 2}, finished(w))
	assert.Nil(t, takeNow(w))
	assert.Zero(t, w.records)
}

func TestATryThatFailsAfterARevokeIsDoneWith(t *testing.T) {
	w := newTestWindow(false, 0)
	w.add(record(0, 5))
	r := takeNow(w)
	w.forget([]int32{0})
	assert.True(t, w.finish(r, errAway))
	assert.Nil(t, takeNow(w))
}

func TestHoldingAllowsOneTryAtATimeWithGrowingWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestWindow(false, 0)
		for i := range 5 {
			w.add(record(0, i))
		}
		first, second := takeNow(w), takeNow(w)
		w.finish(first, errAway)
		assert.Equal(t, Holding, w.status().State)
		w.finish(second, errAway)

		var waits []time.Duration
		for range 10 {
			begin := time.Now()
			r := take(t, w)
			waits = append(waits, time.Since(begin))
			assert.Equal(t, 0, offset(r), "the oldest")
			assert.Nil(t, takeNow(w), "one at a time")
			w.finish(r, errAway)
		}
		assert.InDelta(t, firstWait, waits[0], float64(firstWait)/4)
		assert.Greater(t, waits[4], 4*waits[0])
		for _, wait := range waits {
			assert.LessOrEqual(t, wait, maxWait)
		}
		r := take(t, w)
		w.finish(r, nil)
		assert.Equal(t, Delivering, w.status().State)
		for i := 1; i < 5; i++ {
			r := takeNow(w)
			assert.Equal(t, i, offset(r), "all that waited goes on without a wait, in order")
			w.finish(r, nil)
		}
	})
}

func TestRetryAfterIsHonouredUpToThirtySeconds(t *testing.T) {
	for _, c := range []struct{ asked, want time.Duration }{{2 * time.Second, 2 * time.Second}, {time.Hour, 30 * time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			w := newTestWindow(false, 0)
			w.add(record(0, 0))
			w.finish(takeNow(w), RetryAfter(errAway, c.asked))
			begin := time.Now()
			take(t, w)
			assert.Equal(t, c.want, time.Since(begin))
		})
	}
}

func TestASuspectRecordDoesNotKeepOthersFromProvingThatTheEndpointWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestWindow(false, 0)
		w.add(record(0, 0))
		w.finish(takeNow(w), Suspect(errAway))
		w.add(record(0, 1))
		good := take(t, w)
		assert.Equal(t, 1, offset(good), "the least suspect is tried first")
		w.finish(good, nil)
		bad := take(t, w)
		assert.Equal(t, 0, offset(bad))
		assert.Equal(t, 1, bad.Isolated)
	})
}

func TestNothingIsIsolatedWhileNothingGoesThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestWindow(false, 0)
		w.add(record(0, 0))
		w.add(record(0, 1))
		early := takeNow(w)
		late := takeNow(w)
		w.finish(late, Suspect(errAway))
		w.finish(early, nil) // begun before the other failed: proves nothing about now
		for range 40 {
			r := take(t, w)
			assert.Equal(t, 0, r.Isolated)
			w.finish(r, Suspect(errAway))
		}
	})
}

func TestASuspectAmongSuccessesDoesNotMakeTheConsumerHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestWindow(false, 0)
		w.add(record(0, 0))
		w.add(record(0, 1))
		bad, good := takeNow(w), takeNow(w)
		w.finish(good, nil)
		w.finish(bad, Suspect(errAway))
		assert.Equal(t, Delivering, w.status().State)
		assert.Nil(t, takeNow(w), "the bad one waits by itself")
		begin := time.Now()
		take(t, w)
		assert.Equal(t, firstWait, time.Since(begin))
	})
}

func TestOrderedKeepsOneRecordPerPartitionInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestWindow(true, 0, 1)
		for i := range 3 {
			w.add(record(0, i))
		}
		w.add(record(1, 0))
		a, b := takeNow(w), takeNow(w)
		assert.Equal(t, int32(0), a.TopicPartition.Partition)
		assert.Equal(t, int32(1), b.TopicPartition.Partition)
		assert.Nil(t, takeNow(w))
		w.finish(b, nil)
		w.finish(a, Suspect(errAway))
		r := take(t, w)
		assert.Equal(t, 0, offset(r), "the next waits for the one before")
		w.finish(r, nil)
		assert.Equal(t, 1, offset(takeNow(w)))
	})
}

func TestSkippedRecordsDoNotEndHolding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestWindow(false, 0)
		w.add(record(0, 0))
		w.add(record(0, 1))
		first, second := takeNow(w), takeNow(w)
		w.finish(first, errAway)
		w.finish(second, ErrSkip)
		assert.Equal(t, Holding, w.status().State)
		assert.Equal(t, Counts{Skipped: 1, Retries: 1}, w.status().Counts)
	})
}

func TestTheWindowIsBounded(t *testing.T) {
	w := newTestWindow(false, 0)
	for i := 0; !w.full(); i++ {
		w.add(record(0, i))
	}
	assert.Equal(t, maxRecords, w.records)
	assert.False(t, w.room())
	for !w.room() {
		w.finish(takeNow(w), nil)
	}
	assert.Equal(t, maxRecords/2, w.records)
}

func TestTakeEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := newTestWindow(false, 0)
		ended := make(chan []*Record)
		go func() { ended <- w.take(ctx) }()
		synctest.Wait()
		cancel()
		assert.Nil(t, <-ended)
	})
}

func TestWhatWasBegunBeforeHoldingSaysNothingAboutNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestWindow(false, 0)
		for i := range 4 {
			w.add(record(0, i))
		}
		a, b, c := takeNow(w), takeNow(w), takeNow(w)
		w.finish(a, RetryAfter(errAway, 5*time.Second))
		w.finish(b, errAway)
		w.finish(c, nil)
		assert.Equal(t, Holding, w.status().State)
		begin := time.Now()
		probe := take(t, w)
		assert.Equal(t, 5*time.Second, time.Since(begin))
		w.finish(probe, nil)
		assert.Equal(t, Delivering, w.status().State)
	})
}

func TestOnlySuspectFailuresIsolate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestWindow(false, 0)
		w.add(record(0, 0))
		w.finish(takeNow(w), Suspect(errAway))
		fail := func(err error) int {
			w.add(record(0, int(w.seq)))
			w.finish(take(t, w), nil) // another one goes through
			r := take(t, w)
			require.Equal(t, 0, offset(r))
			isolated := r.Isolated
			w.finish(r, err)
			return isolated
		}
		assert.Equal(t, 1, fail(Suspect(errAway)))
		assert.Equal(t, 2, fail(errAway))
		assert.Equal(t, 2, fail(errAway), "the last failure was that of the endpoint")
		assert.Equal(t, 2, fail(RetryAfter(Suspect(errAway), time.Second)))
		assert.Equal(t, 3, fail(nil))
	})
}

func TestOffsetsMayStartAgain(t *testing.T) {
	w := newTestWindow(false, 0)
	w.begin(0, 90)
	for _, offset := range []int{90, 91, 0, 1, 2} {
		w.add(record(0, offset))
	}
	rs := []*Record{takeNow(w), takeNow(w), takeNow(w), takeNow(w), takeNow(w)}
	w.finish(rs[2], nil)
	assert.Empty(t, finished(w), "90 and 91 are not finished")
	w.finish(rs[0], nil)
	assert.Equal(t, map[int32]int64{0: 91}, finished(w))
	w.finish(rs[1], nil)
	moved, back := w.finished()
	assert.Equal(t, map[int32]int64{0: 1}, moved)
	assert.Equal(t, map[int32]int64{0: 1}, back)
	w.finish(rs[4], nil)
	w.finish(rs[3], nil)
	assert.Equal(t, map[int32]int64{0: 3}, finished(w))
	assert.Zero(t, w.slots)
}

func TestTheLagIsUnknownUntilTheClientIsAsked(t *testing.T) {
	w := newTestWindow(false, 0)
	assert.Equal(t, []PartitionStatus{{Next: -1, Lag: -1, asked: -1}}, w.status().Partitions, "and while it is being closed")
}

func TestARecordWithoutATimestampHasNoAge(t *testing.T) {
	w := newTestWindow(false, 0)
	w.add(record(0, 0))
	assert.Nil(t, w.status().Oldest)
}
