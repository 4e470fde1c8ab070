package dispatch

import (
	"context"
	"errors"
	"maps"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

func at(partition int32, offset int64) *kafka.Message {
	return &kafka.Message{TopicPartition: kafka.TopicPartition{Partition: partition, Offset: kafka.Offset(offset)}, Value: []byte("a")}
}

func TestMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Config{})
		b.Assign([]int32{1, 2})
		b.Start(1, 5)
		for _, tt := range []struct {
			name        string
			step        func()
			moved, back map[int32]int64
		}{
			{"what is committed already did not move", func() {}, nil, nil},
			{"what is finished did", func() { b.Add(at(1, 5)); b.Add(at(1, 6)) }, map[int32]int64{1: 7}, nil},
			{"once", func() {}, nil, nil},
			{"where no record lies as well", func() { b.Skip(1, 9) }, map[int32]int64{1: 9}, nil},
			{"a partition whose begin is not told", func() { b.Add(at(2, 3)) }, map[int32]int64{2: 4}, nil},
			{"a later start says nothing new", func() { b.Start(2, 0) }, nil, nil},
			{"a topic made anew has moved back", func() { b.Add(at(1, 0)) }, map[int32]int64{1: 1}, map[int32]int64{1: 1}},
			{"also if it is where it was", func() { b.Add(at(1, 0)) }, map[int32]int64{1: 1}, map[int32]int64{1: 1}},
			{"another partition says nothing", func() { b.Add(at(7, 0)); b.Skip(7, 1); b.Start(7, 1) }, nil, nil},
		} {
			tt.step()
			synctest.Wait()
			if moved, back := b.Moved(); !maps.Equal(moved, tt.moved) || !maps.Equal(back, tt.back) {
				t.Errorf("%s: %v and back %v, want %v and %v", tt.name, moved, back, tt.moved, tt.back)
			}
		}
	})
}

func TestDrain(t *testing.T) {
	for _, tt := range []struct {
		name     string
		take     time.Duration // of a try
		wait     time.Duration
		want     int64 // committed
		finished []string
	}{
		{"waits for what is under way", 300 * time.Millisecond, 300 * time.Millisecond, 1, []string{"1: " + ErrForgotten.Error(), "0: <nil>"}},
		{"no longer than allowed", 5 * time.Second, time.Second, 0, []string{"1: " + ErrForgotten.Error(), "0: " + ErrForgotten.Error()}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, Config{Handle: func(context.Context, []Part) error { time.Sleep(tt.take); return nil }})
				b.add("a", "b")
				synctest.Wait()
				began := time.Now()
				b.Drain([]int32{0}, time.Second)
				if took := time.Since(began); took != tt.wait {
					t.Errorf("took %v, want %v", took, tt.wait)
				}
				if got := b.committed(); got != tt.want {
					t.Errorf("%d is to be committed, want %d", got, tt.want)
				}
				b.Forget([]int32{0})
				b.Add(at(0, 2)) // too late
				time.Sleep(10 * time.Second)
				if got := b.committed(); got != -1 {
					t.Errorf("%d is to be committed of a partition that is gone", got)
				}
				b.want("tried", &b.tried, "0")
				b.want("finished", &b.finished, tt.finished...)
				if s := b.Status(); s.Waiting+s.InFlight != 0 || s.State != Delivering || len(s.Partitions) != 0 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// What is tried together with records of a partition that is gone goes on without them.
func TestForgetTakesOnlyItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		b := newBench(t, Config{
			MaxPieces: 10, MaxBytes: 1 << 20,
			Handle: func(context.Context, []Part) error {
				if down.Load() {
					return errors.New("503")
				}
				return nil
			},
		})
		b.Assign([]int32{1})
		b.Add(at(0, 0))
		b.Add(at(1, 5))
		time.Sleep(time.Second)
		b.Forget([]int32{0})
		b.Assign([]int32{0})
		down.Store(false)
		time.Sleep(time.Second)
		if moved, _ := b.Moved(); !maps.Equal(moved, map[int32]int64{1: 6}) {
			t.Errorf("%v is to be committed, want 6 of partition 1", moved)
		}
		b.want("finished", &b.finished, "0: "+ErrForgotten.Error(), "5: <nil>")
	})
}

// Nothing is left that could tell that it is over.
func TestForgetEndsHolding(t *testing.T) {
	for _, underWay := range []time.Duration{0, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, Config{InFlight: 9, Handle: func(context.Context, []Part) error {
				time.Sleep(underWay)
				return errors.New("503")
			}})
			for offset := range int64(9) {
				b.Add(at(0, offset))
			}
			time.Sleep(time.Second + underWay*5/2)
			if s := b.Status(); s.State != Holding {
				t.Errorf("%+v", s)
			}
			b.Forget([]int32{0})
			time.Sleep(time.Minute)
			if s := b.Status(); s.State != Delivering {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestForgetEndsLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Config{
			Read:     func(*Record) error { return Permanent(errors.New("garbage")) },
			SetAside: func(context.Context, Part, error) error { return errors.New("no topic") },
		})
		b.add("a", "b")
		time.Sleep(time.Minute)
		if s := b.Status(); s.DeadLetters != 2 || s.DeadLettersError == nil {
			t.Errorf("%+v", s)
		}
		b.Forget([]int32{0})
		synctest.Wait()
		if s := b.Status(); s.DeadLetters != 0 || s.DeadLettersError != nil {
			t.Errorf("%+v", s)
		}
	})
}
