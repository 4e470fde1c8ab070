package dispatch

import (
	"math/rand/v2"
	"testing"
)

func TestBatching(t *testing.T) {
	b := newBatching(0)
	pass := func(times, records int) {
		for range times {
			b.pass(records)
		}
	}
	for _, step := range []struct {
		name string
		do   func()
		want int
	}{
		{"at first", func() {}, freshRecords},
		{"after a pass", func() { b.pass(500) }, freshRecords},
		{"after a split", func() { b.split(55) }, 27},
		{"after passes of fewer", func() { pass(passesToGrow, 20) }, 27},
		{"after all passes but one", func() { pass(passesToGrow-1, 27) }, 27},
		{"after the last one", func() { b.pass(27) }, 54},
		{"after all passes but one", func() { pass(passesToGrow-1, 54) }, 54},
		{"after the split of one with two", func() { b.split(2) }, 1},
		{"after one more pass", func() { b.pass(1) }, 1},
		{"after all passes but one", func() { pass(passesToGrow-2, 1) }, 1},
		{"after one that was refused", b.refuse, 1},
		{"after all passes but one", func() { pass(passesToGrow-1, 1) }, 1},
		{"after the last one", func() { b.pass(1) }, 2},
	} {
		if step.do(); b.records != step.want {
			t.Errorf("%s: %d, want %d", step.name, b.records, step.want)
		}
	}
}

// The more bad ones there are, the fewer travel together.
func TestBatchingSettles(t *testing.T) {
	for _, tt := range []struct {
		oneBadIn, least, most int
	}{{3, 1, 1}, {50, 3, 30}, {1000, 60, 600}} {
		random := rand.New(rand.NewPCG(1, 2))
		b, sum := newBatching(0), 0
		const tries = 10_000
		for range tries {
			n, bad := min(b.records, 1000), false
			for range n {
				bad = bad || random.IntN(tt.oneBadIn) == 0
			}
			switch {
			case bad && n == 1:
				b.refuse()
			case bad:
				b.split(n)
			default:
				b.pass(n)
			}
			sum += n
		}
		if mean := sum / tries; mean < tt.least || mean > tt.most {
			t.Errorf("one bad in %d: %d together, want %d to %d", tt.oneBadIn, mean, tt.least, tt.most)
		}
	}
}
