package progress

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestProgress(t *testing.T) {
	for _, tt := range []struct {
		name  string
		steps string // s: start, r: read, k: skip, d: done, each with an offset
		want  int64  // -1: not known
	}{
		{"nothing is known at first", "", -1},
		{"reading begins where it was told", "s7", 7},
		{"a start counts once", "s7 s3", 7},
		{"a start does not count after a record", "r4 s9", 4},
		{"the first unfinished record holds what is behind it", "r4 r5 r6 d5 d6", 4},
		{"what is finished is behind the last that was read", "r4 r5 d5 d4", 6},
		{"gaps are passed over", "r4 r9 d4", 9},
		{"a skip goes on where all is finished", "r4 d4 k9", 9},
		{"a skip does not pass what is unfinished", "r4 k9", 4},
		{"a skip never goes back", "r4 d4 k2", 5},
		{"a skip says nothing before anything is known", "k9", -1},
		{"done twice is done once", "r4 r5 d4 d4", 5},
		{"in a topic made anew the offsets start again", "r4 d4 r0 d0", 1},
		{"what is unfinished of the old topic holds nothing of the new one", "r4 r5 r0 r1 d0", 1},
		{"and does not move it when it is finished", "r4 r5 r0 r1 d5 d4", 0},
		{"the end of the new topic is its own", "r4 r5 r0 d0 d4", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var p Progress
			marks := map[int64]*Mark{}
			for step := range strings.FieldsSeq(tt.steps) {
				offset, err := strconv.ParseInt(step[1:], 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				switch step[0] {
				case 's':
					p.Start(offset)
				case 'r':
					marks[offset] = p.Read(offset, time.Time{})
				case 'k':
					p.Skip(offset)
				case 'd':
					marks[offset].Done()
				}
			}
			got, known := p.Next()
			if !known {
				got = -1
			}
			if got != tt.want {
				t.Errorf("next is %d, want %d", got, tt.want)
			}
		})
	}
}

func TestPendingAndOldest(t *testing.T) {
	var p Progress
	early, late := time.Unix(1, 0), time.Unix(2, 0)
	a, b := p.Read(0, early), p.Read(1, late)
	if n, at := p.Pending(), p.Oldest(); n != 2 || !at.Equal(early) {
		t.Errorf("%d pending, oldest %v", n, at)
	}
	a.Done()
	if n, at := p.Pending(), p.Oldest(); n != 1 || !at.Equal(late) {
		t.Errorf("%d pending, oldest %v", n, at)
	}
	old := p.Read(2, early)
	p.Read(0, late).Done() // anew
	b.Done()
	if n := p.Pending(); n != 1 {
		t.Errorf("%d pending of the old topic, want 1", n)
	}
	old.Done()
	if n, at := p.Pending(), p.Oldest(); n != 0 || !at.IsZero() {
		t.Errorf("%d pending, oldest %v at the end", n, at)
	}
}

// Whatever the order in which records finish, progress is what a list would say.
func TestProgressIsTheFinishedPrefix(t *testing.T) {
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 0))
		var p Progress
		var unfinished []*Mark
		read := int64(0)
		for range 200 {
			if n := len(unfinished); n == 0 || rng.IntN(2) == 0 {
				read += 1 + rng.Int64N(2)
				unfinished = append(unfinished, p.Read(read-1, time.Time{}))
			} else {
				i := rng.IntN(n)
				unfinished[i].Done()
				unfinished = slices.Delete(unfinished, i, i+1)
			}
			want := read
			if len(unfinished) > 0 {
				want = unfinished[0].Offset
			}
			if got, _ := p.Next(); got != want || p.Pending() != len(unfinished) {
				t.Fatalf("seed %d: next is %d, want %d; %d pending, want %d", seed, got, want, p.Pending(), len(unfinished))
			}
		}
	}
}
