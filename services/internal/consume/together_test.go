package consume

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// newGroupWindow groups records by the remainder of their offset by 3, of weight
// 1 each and at most four at once. What is 0 goes alone.
func newGroupWindow(change func(*Config)) *window {
	cfg := Config{
		InFlight: 100,
		Together: &Together{
			Key:    func(r *Record) (uint64, int) { return uint64(r.TopicPartition.Offset % 3), 1 },
			Weight: 4, Bytes: 1000,
		},
		Log: slog.New(slog.DiscardHandler),
	}
	change(&cfg)
	w := newWindow(cfg)
	w.assign([]int32{0})
	return w
}

func takeGroup(w *window) (offsets []int, records []*Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e, _ := w.pick(time.Now())
	if e == nil {
		return nil, nil
	}
	records = w.try(e)
	for _, r := range records {
		offsets = append(offsets, offset(r))
	}
	return offsets, records
}

func TestWhatWaitsAndHasTheSameKeyGoesTogether(t *testing.T) {
	w := newGroupWindow(func(*Config) {})
	for i := range 20 {
		w.add(record(0, i))
	}
	for _, want := range [][]int{{0}, {1, 4, 7, 10}, {2, 5, 8, 11}, {3}, {6}, {9}, {12}, {13, 16, 19}, {14, 17}, {15}, {18}, nil} {
		got, _ := takeGroup(w)
		assert.Equal(t, want, got)
	}
	assert.Empty(t, w.groups)
	assert.Equal(t, 20, w.handled)
	assert.Equal(t, 11, w.tries)
}

func TestTheBytesOfAGroupAreBounded(t *testing.T) {
	w := newGroupWindow(func(c *Config) { c.Together.Bytes = 12 })
	for i := range 7 {
		w.add(record(0, 3*i+1)) // 5 bytes each
	}
	large := record(0, 22)
	large.Value = make([]byte, 100)
	w.add(large)
	for _, want := range [][]int{{1, 4}, {7, 10}, {13, 16}, {19}, {22}, nil} {
		got, _ := takeGroup(w)
		assert.Equal(t, want, got)
	}
}

func TestAGroupThatFailsGoesTogetherAgainAndWhatIsSuspectAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newGroupWindow(func(*Config) {})
		for i := range 4 {
			w.add(record(0, 3*i+1))
		}
		_, group := takeGroup(w)
		for _, r := range group {
			w.finish(r, errAway)
		}
		time.Sleep(maxWait)
		got, probe := takeGroup(w)
		assert.Equal(t, []int{1}, got, "one record probes")
		w.finish(probe[0], nil)
		got, group = takeGroup(w)
		require.Equal(t, []int{4, 7, 10}, got)
		for _, r := range group {
			w.finish(r, Suspect(errAway))
		}
		time.Sleep(maxWait)
		for _, want := range [][]int{{4}, {7}, {10}} {
			got, alone := takeGroup(w)
			assert.Equal(t, want, got)
			w.finish(alone[0], nil)
		}
		assert.Empty(t, w.groups)
		assert.Equal(t, map[int32]int64{0: 11}, finished(w))
	})
}

func TestWhatIsTakenAwayIsInNoGroup(t *testing.T) {
	w := newGroupWindow(func(*Config) {})
	w.assign([]int32{1})
	for i := range 4 {
		w.add(record(int32(i%2), 3*i+1))
	}
	w.forget([]int32{0})
	got, _ := takeGroup(w)
	assert.Equal(t, []int{4, 10}, got)
	assert.Empty(t, w.groups)
}

func TestAnOutageIsToldWhenItIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []Outage
		w := newGroupWindow(func(c *Config) { c.Recovered = func(o Outage) { told = append(told, o) } })
		for i := range 3 {
			w.add(record(0, i))
		}
		_, first := takeGroup(w)
		began := time.Now()
		w.finish(first[0], errAway)
		for _, err := range []error{errors.New("too early"), errAway} {
			w.finish(take(t, w), err)
		}
		assert.Empty(t, told)
		w.finish(take(t, w), nil)
		want := Outage{Began: began, End: time.Now(), Attempts: 3, Records: 3, Errors: []string{"away", "too early"}}
		assert.Equal(t, []Outage{want}, told)
		w.finish(take(t, w), nil)
		assert.Len(t, told, 1)
	})
}

func TestTriesAtOnceGrowAfterAnOutageAndShrinkWhenTheyTakeLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newGroupWindow(func(c *Config) { c.InFlight, c.Together, c.Slow = 8, nil, time.Second })
		for i := range 100 {
			w.add(record(0, i))
		}
		takeAll := func() (all []*Record) {
			for {
				r := takeNow(w)
				if r == nil {
					return all
				}
				all = append(all, r)
			}
		}
		all := takeAll()
		require.Len(t, all, 8)
		for _, r := range all {
			w.finish(r, errAway)
		}
		w.finish(take(t, w), nil)
		for _, want := range []int{1, 2, 4, 8, 8} {
			all = takeAll()
			assert.Len(t, all, want)
			for _, r := range all {
				w.finish(r, nil)
			}
		}
		all = takeAll()
		time.Sleep(time.Second + 1)
		for _, r := range all {
			w.finish(r, nil)
		}
		assert.Len(t, takeAll(), 4, "halved once for all that were begun before")
	})
}

func TestOneBadRecordAmongGoodOnesHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newGroupWindow(func(c *Config) { c.Together = nil })
		for i := range 10 {
			w.add(record(0, i))
		}
		w.finish(takeNow(w), nil)
		bad, good := takeNow(w), takeNow(w)
		w.finish(bad, Suspect(errAway))
		assert.Equal(t, Delivering, w.status().State)
		w.finish(good, Suspect(errAway))
		assert.Equal(t, Holding, w.status().State, "nothing went through between the two")
	})
}

func TestAGroupThatIsRefusedIsOneFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newGroupWindow(func(*Config) {})
		for i := range 5 {
			w.add(record(0, i))
		}
		_, other := takeGroup(w)
		w.finish(other[0], nil)
		got, group := takeGroup(w)
		require.Equal(t, []int{1, 4}, got)
		for _, r := range group {
			w.finish(r, Suspect(errAway))
		}
		assert.Equal(t, Delivering, w.status().State, "something went through since the last refusal")
		got, group = takeGroup(w)
		require.Equal(t, []int{2}, got)
		w.finish(group[0], Suspect(errAway))
		assert.Equal(t, Holding, w.status().State, "nothing went through between the two")
	})
}

func TestNoGroupKeepsWhatIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newGroupWindow(func(*Config) {})
		for i := range 9 {
			w.add(record(0, 3*i+1))
		}
		_, first := takeGroup(w)
		for _, r := range first {
			w.finish(r, errAway) // goes behind the others of its key
		}
		w.finish(take(t, w), nil)
		got, group := takeGroup(w)
		require.Equal(t, []int{4, 13, 16, 19}, got)
		for _, r := range group {
			w.finish(r, nil)
		}
		for _, r := range w.groups[1] {
			assert.NotNil(t, r.place, "offset %d is done", offset(r))
		}
	})
}

func TestRecordsThatCannotGoTogetherWaitWhileTheConsumerHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newGroupWindow(func(c *Config) {
			c.Together.Handle = func(context.Context, []*Record) error { return ErrApart }
		})
		var tried []int
		c := &Consumer{window: w, cfg: Config{Together: &w.together, Handle: func(_ context.Context, r *Record) error {
			tried = append(tried, offset(r))
			return RetryAfter(errAway, 5*time.Second)
		}}}
		for i := range 4 {
			w.add(record(0, 3*i+1))
		}
		_, group := takeGroup(w)
		c.carry(t.Context(), group)
		assert.Equal(t, []int{1}, tried, "one is enough to know")
		assert.Equal(t, 4, w.status().Waiting)
		assert.Zero(t, w.handled+w.tries)
		begin := time.Now()
		assert.Equal(t, 1, offset(take(t, w)))
		assert.Equal(t, 5*time.Second, time.Since(begin), "as long as the endpoint asked for")
	})
}

func TestRecordsThatCannotGoTogetherAreLeftToANewOwner(t *testing.T) {
	w := newGroupWindow(func(c *Config) {
		c.Together.Handle = func(context.Context, []*Record) error { return ErrApart }
	})
	var tried []int
	c := &Consumer{window: w, cfg: Config{Together: &w.together, Handle: func(_ context.Context, r *Record) error {
		tried = append(tried, offset(r))
		w.forget([]int32{0})
		return nil
	}}}
	for i := range 4 {
		w.add(record(0, 3*i+1))
	}
	_, group := takeGroup(w)
	c.carry(t.Context(), group)
	assert.Equal(t, []int{1}, tried)
	assert.Zero(t, w.handled+w.tries+w.waiting.Len()+w.records+w.bytes+w.slots)
}

// Records that go together are handled by one call, one by one if they cannot,
// and each is committed by its own result.
func TestRecordsGoTogetherThroughAConsumer(t *testing.T) {
	t.Parallel()
	broker, client := startTopic(t)
	s := newSeen()
	var release = make(chan struct{})
	var merged, apart atomic.Int64
	var once sync.Once
	produce(t, client, 0, 3000)
	startMember(t, broker, func(c *Config) {
		c.InFlight = 2
		c.Handle = func(ctx context.Context, r *Record) error {
			once.Do(func() { <-release })
			return s.handle(ctx, r)
		}
		c.Together = &Together{
			Key:    func(r *Record) (uint64, int) { return uint64(r.TopicPartition.Partition) + 1, 1 },
			Weight: 50, Bytes: 1 << 20,
			Handle: func(ctx context.Context, records []*Record) error {
				if merged.Add(1)%5 == 0 {
					apart.Add(int64(len(records)))
					return fmt.Errorf("refused: %w", ErrApart)
				}
				for _, r := range records {
					_ = s.handle(ctx, r)
				}
				return nil
			},
		}
	})
	close(release)
	eventually(t, "every record was handled", func() bool { return s.distinct() == 3000 })
	eventually(t, "and committed", func() bool { return committed(t, client) == 3000 })
	assert.Less(t, merged.Load(), int64(1500))
	assert.Positive(t, apart.Load())
	for value, times := range s.times {
		assert.Equal(t, 1, times, value)
	}
}
