package dispatch

import "time"

// slowStart is how many tries at once there are after an outage.
const slowStart = 1

// limiter says how many slots there are for tries: one more after each try that
// went through, half as many after one that took long.
type limiter struct {
	max     int
	allowed int
	slow    time.Duration // 0: how long they take does not matter
	slowed  time.Time     // when it was last made fewer
	average time.Duration // how long they take
}

// succeed takes in a try that went through.
func (l *limiter) succeed(began, now time.Time) {
	took := now.Sub(began)
	l.average += (took - l.average) / 16
	switch {
	case l.slow == 0 || took <= l.slow:
		l.allowed = min(l.allowed+1, l.max)
	case began.After(l.slowed): // else it began when more were allowed
		l.allowed, l.slowed = max(l.allowed/2, 1), now
	}
}

// restart begins slowly.
func (l *limiter) restart() { l.allowed = min(slowStart, l.max) }

// A try is overdue, so that others begin beside it, and hopeless, so that its halves are
// tried instead, after these times at the earliest.
const (
	minOverdue  = 100 * time.Millisecond
	minHopeless = time.Second
)

// overdue is after how long a try counts as overdue.
func (l *limiter) overdue() time.Duration { return max(minOverdue, 8*l.average) }

// hopeless is after how long a try of several records is cut short.
func (l *limiter) hopeless() time.Duration { return max(minHopeless, 8*l.average) }
