package consume

import "sort"

// partition keeps the progress in one assigned partition. A partition that is
// taken away and assigned again gets a new one, so that what was begun before
// cannot move the offset of what came after.
type partition struct {
	id       int32
	slots    []slot // not yet part of the finished prefix, by offset
	next     int64  // the offset to commit; -1: nothing known yet
	stored   int64  // what was last handed out to be committed
	inFlight int
	revoked  bool
}

type slot struct {
	offset int64
	bytes  int
	done   bool
}

func newPartition(id int32) *partition { return &partition{id: id, next: -1, stored: -1} }

// begin notes where reading goes on: everything before is committed.
func (p *partition) begin(offset int64) {
	if p.next < 0 {
		p.next, p.stored = offset, offset
	}
}

func (p *partition) add(offset int64, bytes int) {
	p.begin(offset)
	p.slots = append(p.slots, slot{offset: offset, bytes: bytes})
}

// finish marks a record as finished and returns how many records and bytes
// have thereby become part of the finished prefix.
func (p *partition) finish(offset int64) (records, bytes int) {
	i := sort.Search(len(p.slots), func(i int) bool { return p.slots[i].offset >= offset })
	p.slots[i].done = true
	for records < len(p.slots) && p.slots[records].done {
		p.next = p.slots[records].offset + 1
		bytes += p.slots[records].bytes
		records++
	}
	p.slots = p.slots[records:]
	return records, bytes
}

// held returns what the partition keeps in the window.
func (p *partition) held() (records, bytes int) {
	for _, s := range p.slots {
		bytes += s.bytes
	}
	return len(p.slots), bytes
}
