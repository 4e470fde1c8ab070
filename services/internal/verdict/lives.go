package verdict

import (
	"math"
	"time"
)

// lives are the processes of a service that have written spans, by the id that Jaeger's client gives a process.
type lives map[string]*life

// life is what is known of a process: when its first and its last span began, in microseconds since 1970.
type life struct{ first, last int64 }

func (l lives) add(s Span) {
	id := s.Process["client-uuid"]
	if l[id] == nil {
		l[id] = &life{s.Start, s.Start}
	}
	l[id].first = min(l[id].first, s.Start)
	l[id].last = max(l[id].last, s.Start)
}

// changed reports that any of the time from first to last lies between the last span of a process and the first of the one that came
// next. What the service did then, it may have done in a process that did not come to send it. Spans are sent in the order in which they
// end: the last one sent may have begun a little after one that was lost, for which a second is allowed.
func (l lives) changed(first, last time.Time) bool {
	from, to := first.UnixMicro(), last.Add(time.Second).UnixMicro()
	for _, gone := range l {
		next := int64(math.MaxInt64)
		for _, p := range l {
			if p.first > gone.last {
				next = min(next, p.first)
			}
		}
		if next < math.MaxInt64 && from <= next && gone.last <= to {
			return true
		}
	}
	return false
}
