package dispatch

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// parking is a bench whose suspects and letters have room for one record each.
func parking(t *testing.T, cfg Config) *bench {
	var b *bench
	if cfg.Fetch == nil {
		cfg.Fetch = func(_ context.Context, _ int32, offsets []int64) (map[int64]*kafka.Message, error) {
			return b.read(offsets), nil
		}
	}
	b = newBench(t, cfg)
	b.Dispatcher.mu.Lock()
	defer b.Dispatcher.mu.Unlock()
	b.buffers[suspect].max, b.buffers[dead].max = overhead+5, overhead+5
	return b
}

// read returns what is on the topic.
func (b *bench) read(offsets []int64) map[int64]*kafka.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	messages := map[int64]*kafka.Message{}
	for _, offset := range offsets {
		if m := b.topic[offset]; m != nil {
			messages[offset] = message(m)
		}
	}
	return messages
}

// held sums up what is in memory.
func (b *bench) held() (n int) {
	b.Dispatcher.mu.Lock()
	defer b.Dispatcher.mu.Unlock()
	for _, buffer := range b.buffers {
		n += buffer.used
	}
	return n
}

func TestSuspectsAreParkedAndReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		var mu sync.Mutex
		got := map[string]int{}
		b := parking(t, Config{Handle: func(_ context.Context, parts []Part) error {
			mu.Lock()
			defer mu.Unlock()
			for _, p := range parts {
				got[string(p.Value)]++
			}
			if down.Load() {
				return errors.New("503")
			}
			return nil
		}})
		b.add("a", "b", "c", "d")
		time.Sleep(10 * time.Second)
		if s := b.Status(); s.Suspects != 4 || s.Parked != 3 {
			t.Errorf("%+v", s)
		}
		if n := b.held(); n > overhead+5 {
			t.Errorf("%d bytes in memory", n)
		}
		mu.Lock()
		for _, value := range []string{"a", "b", "c", "d"} {
			if got[value] < 3 {
				t.Errorf("%q was tried %d times of %v: they do not take turns", value, got[value], got)
			}
		}
		mu.Unlock()
		down.Store(false)
		time.Sleep(10 * time.Second)
		if s := b.Status(); s.Counts.Done != 4 || s.Parked != 0 || b.held() != 0 {
			t.Errorf("%+v, %d held", s, b.held())
		}
	})
}

func TestWhatIsNoLongerThereIsSetAside(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(b *bench)
	}{
		{"deleted", func(b *bench) { delete(b.topic, 1) }},
		{"another record, of a topic made anew", func(b *bench) {
			b.topic[1] = &kafka.Message{Value: []byte("new"), Timestamp: time.Now()}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var down atomic.Bool
				down.Store(true)
				var b *bench
				b = parking(t, Config{
					Handle: func(context.Context, []Part) error {
						if down.Load() {
							return errors.New("503")
						}
						return nil
					},
					// So that the first stays in memory, and the second on the topic.
					Fetch: func(_ context.Context, _ int32, offsets []int64) (map[int64]*kafka.Message, error) {
						if down.Load() {
							return nil, errors.New("broker away")
						}
						return b.read(offsets), nil
					},
				})
				b.add("a", "b")
				time.Sleep(time.Minute)
				if s := b.Status(); s.FetchError == nil {
					t.Errorf("%+v", s)
				}
				b.mu.Lock()
				tt.change(b)
				b.mu.Unlock()
				down.Store(false)
				time.Sleep(time.Minute)
				b.want("set aside", &b.aside, "1: "+ErrGone.Error())
				if s := b.Status(); s.Counts.Done != 1 || s.FetchError != nil || s.State != Delivering {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// A letter that is left to others makes room for those that are parked.
func TestLettersOfAnotherPartitionGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := parking(t, Config{
			Read: func(*Record) error { return Permanent(errors.New("garbage")) },
			SetAside: func(ctx context.Context, p Part, _ error) error {
				if p.TopicPartition.Partition == 0 {
					<-ctx.Done()
					time.Sleep(time.Millisecond)
				}
				return ctx.Err()
			},
		})
		b.Assign([]int32{1})
		b.add("a")
		b.mu.Lock()
		b.topic[1] = at(1, 1)
		b.mu.Unlock()
		b.Add(at(1, 1))
		time.Sleep(time.Minute)
		b.want("set aside", &b.aside)
		b.Forget([]int32{0})
		time.Sleep(time.Second)
		b.want("set aside", &b.aside, "1: garbage")
		if s := b.Status(); s.DeadLetters != 0 || s.Parked != 0 || b.held() != 0 {
			t.Errorf("%+v, %d held", s, b.held())
		}
	})
}

// One that can be written does not wait for one that cannot.
func TestALetterThatFailsIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int32
		b := newBench(t, Config{
			Read: func(*Record) error { return Permanent(errors.New("garbage")) },
			SetAside: func(_ context.Context, p Part, _ error) error {
				if string(p.Value) == "a" {
					if tries.Add(1) < 5 {
						return errors.New("no topic")
					}
				}
				return nil
			},
		})
		b.add("a", "b")
		time.Sleep(5 * firstPause / 2)
		b.want("set aside", &b.aside, "1: garbage")
		if s := b.Status(); s.DeadLetters != 1 || s.DeadLettersError == nil || s.Counts.SetAside != 1 {
			t.Errorf("%+v", s)
		}
		time.Sleep(time.Minute)
		b.want("set aside", &b.aside, "1: garbage", "0: garbage")
		if s := b.Status(); s.DeadLetters != 0 || s.DeadLettersError != nil || tries.Load() != 5 {
			t.Errorf("%d tries, %+v", tries.Load(), s)
		}
	})
}
