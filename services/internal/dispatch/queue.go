package dispatch

import (
	"container/heap"
	"container/list"
	"maps"
	"slices"
)

// queue holds the records that were not tried yet, in lines: one for each partition if
// they are ordered, else one for all. The lines take turns, and the records of one leave
// in the order of reading.
type queue struct {
	ordered bool // nothing of a line leaves before all that left is finished, or is to be set aside
	lines   map[int32]*line
	ready   *list.List // of *line, in turn: those with a record to take
	records int
}

type line struct {
	records []*Record
	place   *list.Element // in ready; nil: not there
	busy    int           // ordered: records in work
}

func newQueue(ordered bool) queue {
	return queue{ordered: ordered, lines: make(map[int32]*line), ready: list.New()}
}

// push puts a record at the end of its line.
func (q *queue) push(r *Record) {
	l := q.lineOf(r)
	l.records = append(l.records, r)
	q.records++
	q.update(l)
}

// putBack puts records before all others of their line. If they are ordered, they are what
// was taken from it last.
func (q *queue) putBack(records []*Record) {
	l := q.lineOf(records[0])
	l.records = slices.Insert(l.records, 0, records...)
	q.records += len(records)
	for _, r := range records {
		q.finished(r)
	}
	q.update(l)
}

// lineOf returns the line that a record stands in.
func (q *queue) lineOf(r *Record) *line {
	id := int32(0)
	if q.ordered {
		id = r.partition.id
	}
	if q.lines[id] == nil {
		q.lines[id] = new(line)
	}
	return q.lines[id]
}

// update puts a line among those that are ready, or takes it away.
func (q *queue) update(l *line) {
	ready := len(l.records) > 0 && l.busy == 0
	if ready && l.place == nil {
		l.place = q.ready.PushBack(l)
	} else if !ready && l.place != nil {
		q.ready.Remove(l.place)
		l.place = nil
	}
}

// empty tells whether there is nothing to take.
func (q *queue) empty() bool { return q.ready.Len() == 0 }

// take returns the next records of the next line, as many as may be tried together; nil:
// there is nothing to take.
func (q *queue) take(maxRecords, maxPieces, maxBytes int) []*Record {
	front := q.ready.Front()
	if front == nil {
		return nil
	}
	l := front.Value.(*line)
	if together := l.records[0].together; together > 0 {
		maxRecords = min(maxRecords, together)
	}
	n, pieces, bytes := 0, 0, 0
	for ; n < len(l.records) && n < maxRecords; n++ {
		r := l.records[n]
		pieces, bytes = pieces+max(r.Pieces, 1), bytes+r.size
		if n > 0 && (pieces > maxPieces || bytes > maxBytes) {
			break
		}
	}
	taken := slices.Clone(l.records[:n])
	q.took(l, 0, taken)
	return taken
}

// takeLast returns the last record, or the next one of the last line if they are ordered;
// nil: there is nothing to take.
func (q *queue) takeLast() []*Record {
	back := q.ready.Back()
	if back == nil {
		return nil
	}
	l := back.Value.(*line)
	at := 0
	if !q.ordered {
		at = len(l.records) - 1
	}
	taken := []*Record{l.records[at]}
	q.took(l, at, taken)
	return taken
}

// took removes what was taken from its line. It is another one's turn.
func (q *queue) took(l *line, at int, taken []*Record) {
	if at == 0 {
		clear(l.records[:len(taken)])
		l.records = l.records[len(taken):]
	} else {
		l.records = slices.Delete(l.records, at, at+len(taken))
	}
	q.records -= len(taken)
	q.ready.Remove(l.place)
	l.place = nil
	if q.ordered {
		l.busy = len(taken)
		for _, r := range taken {
			r.busy = true
		}
	}
	q.update(l)
}

// finished lets the records behind go when the last one of those that were taken is
// finished, if they are ordered. Further calls do nothing.
func (q *queue) finished(r *Record) {
	if !r.busy {
		return
	}
	r.busy = false
	l := q.lineOf(r)
	l.busy--
	q.update(l)
}

// leave drops the records of partitions that are leaving, and returns them.
func (q *queue) leave() (dropped []*Record) {
	for _, l := range q.lines {
		l.records = slices.DeleteFunc(l.records, func(r *Record) bool {
			if r.partition.leaving {
				dropped = append(dropped, r)
			}
			return r.partition.leaving
		})
		q.update(l)
	}
	q.records -= len(dropped)
	maps.DeleteFunc(q.lines, func(_ int32, l *line) bool { return len(l.records) == 0 && l.busy == 0 })
	return dropped
}

// suspects are the attempts that were refused and wait, the next one to try first.
type suspects []*attempt

func (s suspects) Len() int           { return len(s) }
func (s suspects) Less(i, j int) bool { return s[i].due.Before(s[j].due) }
func (s suspects) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }

func (s *suspects) Push(x any) { *s = append(*s, x.(*attempt)) }

func (s *suspects) Pop() any {
	old := *s
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*s = old[:len(old)-1]
	return last
}

func (s *suspects) push(a *attempt) { heap.Push(s, a) }

// pop returns the first one; nil: there is none.
func (s *suspects) pop() *attempt {
	if len(*s) == 0 {
		return nil
	}
	return heap.Pop(s).(*attempt)
}

// removeIf removes those for which remove returns true; it is called once for each.
func (s *suspects) removeIf(remove func(*attempt) bool) {
	*s = slices.DeleteFunc(*s, remove)
	heap.Init(s)
}
