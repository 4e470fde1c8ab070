package dispatch

import (
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// sized makes an attempt of one record of that size.
func sized(size int) *attempt {
	r := newRecord(&kafka.Message{Value: []byte("value")}, time.Now())
	r.size = size
	return newAttempt([]*Record{r})
}

func TestBufferAdmit(t *testing.T) {
	for _, tt := range []struct {
		name string
		used int
		size int
		want bool
	}{
		{"there is room", 50, 50, true},
		{"there is none", 50, 51, false},
		{"what is larger than all of it has room when it is empty", 0, 1000, true},
		{"and not otherwise", 1, 1000, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := &buffer{stage: suspect, max: 100}
			if tt.used > 0 {
				b.hold(sized(tt.used))
			}
			a := sized(tt.size)
			want := tt.used
			if tt.want {
				want += tt.size
			}
			if got := b.admit(a); got != tt.want || b.used != want {
				t.Errorf("admitted: %v, %d used; want %v, %d", got, b.used, tt.want, want)
			}
		})
	}
}

func TestBufferCountsARecordOnce(t *testing.T) {
	b := &buffer{stage: suspect, max: 100}
	a := sized(80)
	r := a.parts[0].Record
	first, second := &attempt{parts: []Part{{r, 0, 1}}}, &attempt{parts: []Part{{r, 1, 2}}}
	if !b.admit(first) || !b.admit(second) || b.used != 80 {
		t.Fatalf("%d used by two parts of a record of 80", b.used)
	}
	b.release(first)
	if b.used != 80 || r.Value == nil {
		t.Errorf("%d used, value %q; a part is still there", b.used, r.Value)
	}
	b.release(second)
	if b.used != 0 || r.Value != nil || !r.dropped {
		t.Errorf("%d used, value %q; want it dropped", b.used, r.Value)
	}
}

func TestBufferKeepsWhatAnotherStageHolds(t *testing.T) {
	from, to := &buffer{stage: fresh, max: 100}, &buffer{stage: suspect, max: 100}
	a := sized(80)
	r := a.parts[0].Record
	from.hold(a)
	to.hold(a)
	if from.release(a); r.Value == nil || from.used != 0 || to.used != 80 {
		t.Errorf("value %q, %d and %d used", r.Value, from.used, to.used)
	}
}

func TestBufferNext(t *testing.T) {
	b := &buffer{stage: dead, max: 100}
	for _, size := range []int{40, 60, 10, 10} {
		b.parked = append(b.parked, sized(size))
	}
	if got := b.next(5); len(got) != 2 || b.used != 100 || len(b.parked) != 2 {
		t.Errorf("%d attempts, %d used, %d parked; want 2, 100, 2", len(got), b.used, len(b.parked))
	}
	b.used = 0
	if got := b.next(1); len(got) != 1 || len(b.parked) != 1 {
		t.Errorf("%d attempts, %d parked; want 1 and 1", len(got), len(b.parked))
	}
}

// Parts of a record that is read again come along, whatever is between them; those of one
// that is held for others already wait for their turn.
func TestBufferNextTakesPartsTogether(t *testing.T) {
	b := &buffer{stage: suspect, max: 100}
	large, other := sized(80).parts[0].Record, sized(80).parts[0].Record
	part := func(r *Record, piece int) *attempt { return &attempt{parts: []Part{{r, piece, piece + 1}}} }
	b.parked = []*attempt{part(large, 0), part(other, 0), part(large, 1), part(other, 1), part(large, 2)}
	got := b.next(4)
	if len(got) != 2 || got[0].parts[0].Record != large || got[1].parts[0].Record != large || b.used != 80 {
		t.Errorf("%d attempts, %d used; want two of the first record", len(got), b.used)
	}
	if len(b.parked) != 3 || b.parked[0].parts[0].Record != other || b.parked[2].parts[0].Record != large {
		t.Errorf("%d are parked; want those left in their order", len(b.parked))
	}
	if got := b.next(4); len(got) != 0 {
		t.Errorf("%d attempts have taken the place of the first one", len(got))
	}
}
