package dispatch

import (
	"testing"
	"time"
)

func TestLimiter(t *testing.T) {
	began := time.Unix(0, 0)
	for _, tt := range []struct {
		name    string
		slow    time.Duration
		allowed int
		took    []time.Duration // all begin together
		want    int
	}{
		{"one more after each", 0, 1, []time.Duration{1, 1, 1}, 4},
		{"up to the most", 0, 9, []time.Duration{1, 1, 1}, 10},
		{"half as many after a slow one", time.Second, 8, []time.Duration{2 * time.Second}, 4},
		{"once for those that began together", time.Second, 8, []time.Duration{2 * time.Second, 3 * time.Second}, 4},
		{"one at least", time.Second, 1, []time.Duration{2 * time.Second}, 1},
		{"how long does not matter", 0, 8, []time.Duration{time.Hour}, 9},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := limiter{max: 10, allowed: tt.allowed, slow: tt.slow}
			for _, took := range tt.took {
				l.succeed(began, began.Add(took))
			}
			if l.allowed != tt.want {
				t.Errorf("%d allowed, want %d", l.allowed, tt.want)
			}
		})
	}
}

func TestLimiterBeginsAnew(t *testing.T) {
	l := limiter{max: 10, allowed: 10}
	if l.restart(); l.allowed != slowStart {
		t.Errorf("%d allowed, want %d", l.allowed, slowStart)
	}
}

func TestOverdue(t *testing.T) {
	l := limiter{max: 10, allowed: 10}
	now := time.Unix(0, 0)
	if got := l.overdue(); got != minOverdue {
		t.Errorf("overdue after %v, want %v", got, minOverdue)
	}
	for range 100 {
		l.succeed(now, now.Add(time.Second))
	}
	if got := l.overdue(); got < 7*time.Second || got > 8*time.Second {
		t.Errorf("overdue after %v where a second is usual, want about 8 s", got)
	}
}
