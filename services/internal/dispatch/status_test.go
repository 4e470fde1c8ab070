package dispatch

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

func TestOutageNotesEachErrorOnce(t *testing.T) {
	var o Outage
	for _, text := range []string{"a", "b", "a", "c", "d", "e", "f", "a"} {
		o.note(errors.New(text))
	}
	if want := []string{"a", "b", "c", "d", "e"}; o.Attempts != 8 || !slices.Equal(o.Errors, want) {
		t.Errorf("%+v, want 8 attempts and %q", o, want)
	}
}

func TestAFailureLastsSinceItBegan(t *testing.T) {
	first, second := time.Unix(1, 0), time.Unix(2, 0)
	f := lasting(nil, errors.New("a"), first)
	if f = lasting(f, errors.New("b"), second); f.Error != "b" || !f.Since.Equal(first) {
		t.Errorf("%+v, want b since the first", f)
	}
	if f = lasting(f, nil, second); f != nil {
		t.Errorf("%+v after it is over", f)
	}
}

// What was refused last is told with its time, and that it is over as soon as something
// goes through.
func TestTheLastErrorIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var away atomic.Bool
		b := newBench(t, Config{Handle: func(context.Context, []Part) error {
			if away.Load() {
				return errors.New("away")
			}
			return nil
		}})
		b.add("a")
		synctest.Wait()
		if s := b.Status(); s.LastError != "" || s.LastFailed != nil || s.LastErrorOver {
			t.Errorf("%q at %v, over: %v, and nothing has failed", s.LastError, s.LastFailed, s.LastErrorOver)
		}
		for range 2 {
			away.Store(true)
			failed := time.Now()
			b.add("b")
			synctest.Wait()
			if s := b.Status(); s.LastError != "away" || !s.LastFailed.Equal(failed) || s.LastErrorOver {
				t.Errorf("%q at %v, over: %v, want away at %v, not over", s.LastError, s.LastFailed, s.LastErrorOver, failed)
			}
			away.Store(false)
			time.Sleep(time.Second)
			if s := b.Status(); s.LastError != "away" || !s.LastFailed.Equal(failed) || !s.LastErrorOver {
				t.Errorf("%q at %v, over: %v, want away at %v, over", s.LastError, s.LastFailed, s.LastErrorOver, failed)
			}
		}
	})
}

// A refusal is over when nothing is left that was refused, whatever became of it: what is tried much later is no part of it.
func TestARefusalEndsWithTheLastRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		b := newBench(t, Config{Handle: func(ctx context.Context, _ []Part) error {
			switch tries++; tries {
			case 1:
				return errors.New("try again")
			case 2:
				return Permanent(errors.New("bad"))
			}
			<-ctx.Done()
			return ctx.Err()
		}})
		b.add("a")
		time.Sleep(time.Hour)
		b.add("b")
		synctest.Wait()
		if s := b.Status(); tries != 3 || s.State != Delivering || !s.LastErrorOver {
			t.Errorf("%v since %v at try %d, the last error over: %v; want delivering, at the third one, and over", s.State, s.Since, tries, s.LastErrorOver)
		}
	})
}

// A try without an answer is an outage, unless others go through.
func TestStatusWithoutAnAnswer(t *testing.T) {
	for _, tt := range []struct {
		name   string
		others bool
		after  time.Duration
		want   State
	}{
		{"not yet", false, noAnswer - time.Second, Delivering},
		{"for long", false, noAnswer, Holding},
		{"others have one", true, time.Hour, Delivering},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, Config{InFlight: 4, Handle: func(ctx context.Context, parts []Part) error {
					if string(parts[0].Value) == "x" {
						<-ctx.Done()
					}
					return ctx.Err()
				}})
				began := time.Now()
				if b.add("x"); tt.others {
					synctest.Wait()
					b.add("a")
				}
				time.Sleep(tt.after)
				s := b.Status()
				if s.State != tt.want || s.State == Holding && !s.Since.Equal(began) {
					t.Errorf("%v since %v, want %v", s.State, s.Since, tt.want)
				}
				if s.InFlight != 1 {
					t.Errorf("%d in flight, want 1", s.InFlight)
				}
			})
		})
	}
}

func TestStatusOfPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blocked := make(chan struct{})
		b := newBench(t, Config{Handle: func(context.Context, []Part) error { <-blocked; return nil }})
		written := time.Now()
		time.Sleep(time.Hour)
		b.Assign([]int32{2, 1})
		b.Start(1, 7)
		b.Add(&kafka.Message{TopicPartition: kafka.TopicPartition{Partition: 2, Offset: 3}, Value: []byte("a"), Timestamp: written})
		want := []PartitionStatus{{0, -1, -1, 0}, {1, 7, -1, 0}, {2, 3, -1, 1}}
		s := b.Status()
		if !slices.Equal(s.Partitions, want) {
			t.Errorf("%+v, want %+v", s.Partitions, want)
		}
		if s.Oldest == nil || !s.Oldest.Equal(written) {
			t.Errorf("oldest %v, want %v", s.Oldest, written)
		}
		close(blocked)
	})
}
