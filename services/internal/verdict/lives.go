package verdict

import (
	"math"
	"time"
)

// lives are the processes of each service that have written spans.
type lives map[string]map[string]*life // by service, and by the id that Jaeger's client gives a process

// life is what is known of a process: when its first and its last span began, in microseconds since 1970.
type life struct{ first, last int64 }

func (l lives) add(s Span) {
	of := l[s.Service]
	if of == nil {
		of = map[string]*life{}
		l[s.Service] = of
	}
	id := s.Process["client-uuid"]
	if of[id] == nil {
		of[id] = &life{s.Start, s.Start}
	}
	of[id].first = min(of[id].first, s.Start)
	of[id].last = max(of[id].last, s.Start)
}

// changed reports that any of the time from first to last lies between the last span of a process of the service and the first of the
// one that came next. What the service did then, it may have done in a process that did not come to send it. Spans are sent in the
// order in which they end: the last one sent may have begun a little after one that was lost, for which a second is allowed.
func (l lives) changed(service string, first, last time.Time) bool {
	from, to := first.UnixMicro(), last.Add(time.Second).UnixMicro()
	for _, gone := range l[service] {
		next := int64(math.MaxInt64)
		for _, p := range l[service] {
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
