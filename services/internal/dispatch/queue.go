package dispatch

import (
	"container/heap"
	"container/list"
	"maps"
	"slices"
)

// queue holds the records that were not tried yet, by group. The groups take turns,
// and the records of one leave in the order of reading.
type queue struct {
	ordered bool // one record of a group at a time, the next when it is finished
	groups  map[uint64]*group
	ready   *list.List // of *group, in turn: those with a record to take
	records int
}

type group struct {
	records []*Record
	place   *list.Element // in ready; nil: not there
	busy    *Record       // ordered: the one in work
}

func newQueue(ordered bool) queue {
	return queue{ordered: ordered, groups: make(map[uint64]*group), ready: list.New()}
}

// push puts a record behind the others of its group.
func (q *queue) push(r *Record) {
	g := q.groupOf(r)
	g.records = append(g.records, r)
	q.records++
	q.update(g)
}

// putBack puts records of one group before all others.
func (q *queue) putBack(records []*Record) {
	g := q.groupOf(records[0])
	g.records = slices.Insert(g.records, 0, records...)
	q.records += len(records)
	if q.update(g); g.place != nil {
		q.ready.MoveToFront(g.place)
	}
}

// groupOf returns the group that a record belongs to from now on.
func (q *queue) groupOf(r *Record) *group {
	g := q.groups[r.Group]
	if g == nil || r.Group == 0 {
		g = new(group)
		if r.Group != 0 {
			q.groups[r.Group] = g
		}
	}
	r.group = g
	return g
}

// update puts a group among those that are ready, or takes it away.
func (q *queue) update(g *group) {
	ready := len(g.records) > 0 && g.busy == nil
	if ready && g.place == nil {
		g.place = q.ready.PushBack(g)
	} else if !ready && g.place != nil {
		q.ready.Remove(g.place)
		g.place = nil
	}
}

// empty tells whether there is nothing to take.
func (q *queue) empty() bool { return q.ready.Len() == 0 }

// take returns the records of the next group, as many as may be tried together; nil:
// there is nothing to take.
func (q *queue) take(maxRecords, maxPieces, maxBytes int) []*Record {
	front := q.ready.Front()
	if front == nil {
		return nil
	}
	if q.ordered {
		maxRecords = 1
	}
	g := front.Value.(*group)
	n, pieces, bytes := 0, 0, 0
	for ; n < len(g.records) && n < maxRecords; n++ {
		r := g.records[n]
		pieces, bytes = pieces+max(r.Pieces, 1), bytes+r.size
		if n > 0 && (pieces > maxPieces || bytes > maxBytes) {
			break
		}
	}
	taken := g.records[:n:n]
	g.records = g.records[n:]
	q.took(g, taken)
	return taken
}

// takeLast returns the last record of the last group, or its next one if they are
// ordered; nil: there is nothing to take.
func (q *queue) takeLast() []*Record {
	back := q.ready.Back()
	if back == nil {
		return nil
	}
	g := back.Value.(*group)
	n := len(g.records) - 1
	taken := []*Record{g.records[n]}
	if q.ordered {
		taken[0], g.records = g.records[0], g.records[1:]
	} else {
		g.records[n], g.records = nil, g.records[:n]
	}
	q.took(g, taken)
	return taken
}

// took notes that records of a group have left. It is another one's turn.
func (q *queue) took(g *group, taken []*Record) {
	q.records -= len(taken)
	q.ready.Remove(g.place)
	g.place = nil
	if q.ordered {
		g.busy = taken[0]
	} else if len(g.records) == 0 {
		delete(q.groups, taken[0].Group)
	}
	q.update(g)
}

// finished lets the record behind this one go, if they are ordered. Further calls do
// nothing.
func (q *queue) finished(r *Record) {
	if r.group != nil && r.group.busy == r {
		r.group.busy = nil
		q.update(r.group)
	}
}

// leave drops the records of partitions that are leaving, and returns them.
func (q *queue) leave() (dropped []*Record) {
	var all []*Record
	for e := q.ready.Front(); e != nil; e = e.Next() {
		all = append(all, e.Value.(*group).records...)
	}
	for _, g := range q.groups {
		if g.place == nil {
			all = append(all, g.records...)
		}
		g.records, g.place = nil, nil
	}
	q.ready.Init()
	q.records = 0
	for _, r := range all {
		if r.partition.leaving {
			dropped = append(dropped, r)
		} else {
			q.push(r)
		}
	}
	maps.DeleteFunc(q.groups, func(_ uint64, g *group) bool { return len(g.records) == 0 && g.busy == nil })
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
