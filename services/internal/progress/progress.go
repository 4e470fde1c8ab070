// Package progress keeps the finished prefix of a partition: how far every record
// is done, whatever the order in which they finish. Only that may be committed.
//
// It remembers the unfinished records alone, so that one that stays behind costs
// the same however many are done after it.
package progress

import "time"

// Progress is the progress in one partition. The zero value has begun nothing. It
// is not safe for concurrent use.
type Progress struct {
	first, last *Mark // the unfinished records, in the order of reading
	pending     int
	read        int64 // the offset behind the last record that was read
	known       bool
}

// Mark is the place of one record that was read.
type Mark struct {
	Offset int64
	Time   time.Time // when the record was written; zero: unknown

	progress       *Progress
	previous, next *Mark
	done           bool
}

// Start says where reading goes on: everything before that offset is done. It does
// nothing once something is known.
func (p *Progress) Start(offset int64) {
	if !p.known {
		p.read, p.known = offset, true
	}
}

// Read enters a record that was read. If its offset is lower than one before, the
// topic was made anew: what is unfinished of the old topic stays pending, but is no
// part of the progress any more, as its offsets mean other records now.
func (p *Progress) Read(offset int64, at time.Time) *Mark {
	if p.known && offset < p.read {
		p.first, p.last = nil, nil
	}
	m := &Mark{Offset: offset, Time: at, progress: p, previous: p.last}
	if p.last != nil {
		p.last.next = m
	} else {
		p.first = m
	}
	p.last = m
	p.pending++
	p.read, p.known = offset+1, true
	return m
}

// Skip says that there is no record before this offset beyond those that were read,
// as behind a transaction's marker.
func (p *Progress) Skip(offset int64) {
	if p.known && offset > p.read {
		p.read = offset
	}
}

// Done says that the record is finished. Further calls do nothing.
func (m *Mark) Done() {
	if m.done {
		return
	}
	m.done = true
	p := m.progress
	p.pending--
	if m.previous != nil {
		m.previous.next = m.next
	}
	if m.next != nil {
		m.next.previous = m.previous
	}
	if p.first == m {
		p.first = m.next
	}
	if p.last == m {
		p.last = m.previous
	}
}

// Next returns the offset to commit: that of the first unfinished record, or the
// one behind the last that was read; false: nothing is known yet.
func (p *Progress) Next() (offset int64, known bool) {
	if p.first != nil {
		return p.first.Offset, true
	}
	return p.read, p.known
}

// Pending returns how many records are unfinished.
func (p *Progress) Pending() int { return p.pending }

// Oldest returns the time of the first unfinished record that has one; zero: none has.
func (p *Progress) Oldest() time.Time {
	for m := p.first; m != nil; m = m.next {
		if !m.Time.IsZero() {
			return m.Time
		}
	}
	return time.Time{}
}
