package consume

import (
	"math"
	"time"
)

// partition keeps the progress in one assigned partition. A partition that is
// taken away and assigned again gets a new one, so that what was begun before
// cannot move the offset of what came after.
type partition struct {
	slots    []*slot // not yet part of the finished prefix, in the order of reading
	next     int64   // the offset to commit; -1: nothing known yet
	stored   int64   // what was last handed out to be committed
	high     int64   // the end of the partition when the broker was last asked; -1: not asked
	inFlight int
	revoked  bool
}

// slot is the place of one record in the order of its partition.
type slot struct {
	offset int64
	bytes  int
	at     int64 // the timestamp of the record in milliseconds; the largest number: it has none
	done   bool
}

func newPartition() *partition { return &partition{next: -1, stored: -1, high: -1} }

// begin notes where reading goes on: everything before is committed.
func (p *partition) begin(offset int64) {
	if p.next < 0 {
		p.next, p.stored = offset, offset
	}
}

// add makes a place for a record. The order of the calls counts, not that of the
// offsets: after a topic was made anew they start again.
func (p *partition) add(offset int64, bytes int, at time.Time) *slot {
	p.begin(offset)
	s := &slot{offset: offset, bytes: bytes, at: math.MaxInt64}
	if !at.IsZero() {
		s.at = at.UnixMilli()
	}
	p.slots = append(p.slots, s)
	return s
}

// finish marks a record as finished and returns how many places that has freed:
// those that have become part of the finished prefix.
func (p *partition) finish(s *slot) (freed int) {
	s.done = true
	for freed < len(p.slots) && p.slots[freed].done {
		p.next = p.slots[freed].offset + 1
		freed++
	}
	clear(p.slots[:freed])
	p.slots = p.slots[freed:]
	return freed
}

// unfinished returns what the partition keeps in memory.
func (p *partition) unfinished() (records, bytes int) {
	for _, s := range p.slots {
		if !s.done {
			records++
			bytes += s.bytes
		}
	}
	return records, bytes
}

// oldest returns the timestamp of the oldest unfinished record in milliseconds;
// the largest number if there is none, or none known. The first record stands for those behind
// it, which Kafka got later.
func (p *partition) oldest() int64 {
	if len(p.slots) == 0 {
		return math.MaxInt64
	}
	return p.slots[0].at
}
