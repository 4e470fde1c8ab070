package dispatch

import (
	"context"
	"slices"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/opentracing/opentracing-go"

	"fault-tolerant-tracing/services/internal/progress"
)

// Record is one record on its way.
type Record struct {
	*kafka.Message

	// Time is the record's timestamp; zero: it has none, or one that cannot be.
	Time time.Time

	// Pieces is set by [Config.Read]: how many parts the record can be split into, its
	// spans for example; less than 2: it cannot be split.
	Pieces int

	// State and Span belong to the handler and are kept from one try to the next.
	// State goes with the record's value when that has to be dropped.
	State any
	Span  opentracing.Span

	partition *partition
	mark      *progress.Mark
	size      int         // of what is dropped, with something for the rest
	held      [stages]int // tries and letters that hold the value in memory, by stage
	dropped   bool        // the value is not in memory
	acquitted bool        // what spoke against it was dropped once
	forgotten bool        // left to the next owner of the partition
	delivered bool        // a piece is
	busy      bool        // ordered: it was taken from its line, which waits for it
	together  int         // ordered: how many go together that begin with it, since more were refused; 0: any number
	left      int         // pieces that are neither delivered nor set aside
}

// overhead is what a record takes beside its key, value and headers.
const overhead = 512

func newRecord(m *kafka.Message, now time.Time) *Record {
	r := &Record{Message: m, Time: credible(m.Timestamp, now), size: overhead + len(m.Key) + len(m.Value)}
	for _, h := range m.Headers {
		r.size += len(h.Key) + len(h.Value)
	}
	return r
}

// credible returns a record's timestamp, or zero if it cannot be right: a client may
// write 0 or microseconds, or have a clock that is years ahead.
func credible(at, now time.Time) time.Time {
	const ahead = time.Hour
	if at.Year() < 2000 || at.After(now.Add(ahead)) {
		return time.Time{}
	}
	return at
}

// drop frees what can be read again.
func (r *Record) drop() {
	r.Key, r.Value, r.Headers, r.State, r.dropped = nil, nil, nil, nil, true
}

// restore is the opposite of drop.
func (r *Record) restore(m *kafka.Message) {
	r.Key, r.Value, r.Headers, r.dropped = m.Key, m.Value, m.Headers, false
}

// Part is some consecutive pieces of a record: From included, To excluded.
type Part struct {
	*Record
	From, To int
}

// Whole tells whether it is all of the record.
func (p Part) Whole() bool { return p.To-p.From == max(p.Pieces, 1) }

// attempt is what one call of the handler tries, again and again until it is
// delivered, split or set aside.
type attempt struct {
	parts []Part
	stage stage
	evidence
	reason error           // why it is set aside
	due    time.Time       // of the next try
	began  time.Time       // the current try
	tick   uint64          // when it began; between tries, when the last one did
	split  bool            // it is a half of another one
	probe  bool            // it began while the breaker was open
	ctx    context.Context // of the current try
	cut    context.CancelFunc
}

func newAttempt(records []*Record) *attempt {
	a := &attempt{parts: make([]Part, len(records))}
	for i, r := range records {
		a.parts[i] = Part{r, 0, max(r.Pieces, 1)}
	}
	return a
}

// records are those that the parts are of.
func (a *attempt) records() []*Record {
	records := make([]*Record, len(a.parts))
	for i, p := range a.parts {
		records[i] = p.Record
	}
	return records
}

// acquittable tells whether all that speaks against it, or made halves of it, is refusals
// while nothing went through, and none of its records was acquitted before.
func (a *attempt) acquittable() bool {
	return (a.refused > 0 || a.split) && !a.suspected() && !slices.ContainsFunc(a.parts, func(p Part) bool { return p.acquitted || !p.Whole() })
}

// acquit forgets what speaks against it.
func (a *attempt) acquit() {
	a.evidence = evidence{}
	for _, p := range a.parts {
		p.acquitted = true
	}
}

// untried tells whether it is a half that was not tried yet.
func (a *attempt) untried() bool { return a.split && a.refused == 0 }

func (a *attempt) pieces() (n int) {
	for _, p := range a.parts {
		n += p.To - p.From
	}
	return n
}

// enter counts the parts as under way in their partitions, exit no longer so.
func (a *attempt) enter() {
	for _, p := range a.parts {
		p.partition.underWay++
	}
}

func (a *attempt) exit() {
	for _, p := range a.parts {
		p.partition.underWay--
	}
}

// halves splits an attempt of two or more pieces: between records if it has several.
func (a *attempt) halves() (first, second *attempt) {
	if n := len(a.parts); n > 1 {
		return &attempt{parts: a.parts[: n/2 : n/2]}, &attempt{parts: a.parts[n/2:]}
	}
	p := a.parts[0]
	middle := p.From + (p.To-p.From)/2
	return &attempt{parts: []Part{{p.Record, p.From, middle}}}, &attempt{parts: []Part{{p.Record, middle, p.To}}}
}
