package outbox

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// windowBytes is how much is in flight at a time. The producer copies what it is
// given, so this is what an outbox needs beside its buffer; it is four of the
// largest requests.
const windowBytes = 4 << 20

// Record is some spans on their way to Kafka.
type Record struct {
	Key     []byte
	Value   []byte // as Key and Headers, not in memory when done or in a spool
	Headers []kafka.Header
	Spans   int

	number  uint64 // in the order of pushing; 0: it was in a spool before
	size    int    // of the value
	pushed  time.Time
	place   *place
	done    bool // acknowledged, or given up
	suspect bool // was refused as too large, maybe for others in its request: to be sent alone
}

// queue keeps records in order until Kafka has acknowledged them, and knows which
// of them may be sent next.
type queue struct {
	limit int // bytes
	split Split
	log   *slog.Logger
	tally *Tally
	wake  chan struct{} // gets a value when take may have a new answer

	mu            sync.Mutex
	records       []*Record // oldest first; those done leave at the front
	next          int       // index of the first record not handed over since the last rewind
	bytes         int       // of all values in memory
	inFlight      int
	inFlightBytes int
	alone         bool  // the one in flight is a suspect
	failure       error // the first delivery error since the last rewind
	failing       bool  // nothing was acknowledged since the last failure
	pushed        uint64
	moved         chan struct{} // closed when the next record is done; nil: nobody waits for that
}

// Push adds a record, unless the buffer has no room for it. It never waits for
// Kafka, and is safe for several goroutines.
func (q *queue) Push(r Record) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.bytes+len(r.Value) > q.limit {
		return false
	}
	q.pushed++
	r.number, r.size, r.pushed, r.place = q.pushed, len(r.Value), time.Now(), &place{}
	q.records = append(q.records, &r)
	q.bytes += r.size
	q.signal()
	return true
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take returns the next record to produce, or the failure to get over, or neither
// if there is nothing to do but wait.
func (q *queue) take() (*Record, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.failure != nil {
		if q.inFlight > 0 {
			return nil, nil
		}
		return nil, q.failure
	}
	for q.next < len(q.records) && q.records[q.next].done {
		q.next++
	}
	if q.next == len(q.records) {
		return nil, nil
	}
	r := q.records[q.next]
	if q.inFlight > 0 && (q.alone || r.suspect || q.inFlightBytes+r.size > windowBytes) {
		return nil, nil
	}
	q.next++
	q.inFlight++
	q.inFlightBytes += r.size
	q.alone = r.suspect
	return r, nil
}

// content returns what is in a record.
func (q *queue) content(r *Record) (Record, error) {
	q.mu.Lock()
	c, at := *r, *r.place
	q.mu.Unlock()
	if at.spool == nil || c.Value != nil {
		return c, nil
	}
	return at.spool.read(at.id)
}

// settle takes note of what became of a record that was in flight.
func (q *queue) settle(r *Record, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.inFlight--
	q.inFlightBytes -= r.size
	switch {
	case err == nil:
		if q.failing {
			q.failing = false
			q.log.Info("spans reach kafka again")
		}
		q.finish(r)
	case tooLarge(err) && r.suspect && q.halve(r):
	case errors.Is(err, errSpoolDamaged):
		q.tally.FailedToEmit(r.Spans, err.Error())
		q.finish(r)
	case tooLarge(err) && r.suspect:
		q.tally.FailedToEmit(r.Spans, "kafka refuses a record as too large: "+err.Error())
		q.finish(r)
	default:
		r.suspect = r.suspect || tooLarge(err) // a broker refuses all that came in one request: find out which
		if q.failure == nil {
			q.failure = err
		}
	}
	q.signal()
}

// halve puts two records in the place of one that Kafka refused alone, each with
// half of its spans and both with its headers, to be sent next. It returns false if
// there is one span only. Of all limits only that of the buffer may be passed, by
// the size of what both halves say.
func (q *queue) halve(r *Record) bool {
	if r.Spans < 2 {
		return false
	}
	if r.Value == nil {
		whole, err := r.place.spool.read(r.place.id)
		if err != nil {
			return false
		}
		r.Key, r.Value, r.Headers = whole.Key, whole.Value, whole.Headers
		q.bytes += r.size
	}
	first, second := *r, *r
	first.Spans = r.Spans / 2
	second.Spans = r.Spans - first.Spans
	var err error
	if first.Value, second.Value, err = q.split(r.Value, first.Spans); err != nil {
		return false
	}
	first.size, second.size = len(first.Value), len(second.Value)
	q.next = slices.Index(q.records, r)
	q.records = slices.Replace(q.records, q.next, q.next+1, &first, &second)
	q.bytes += first.size + second.size
	q.forget(r)
	return true
}

// forget frees the value of a record that is done, in a spool, or halved.
func (q *queue) forget(r *Record) {
	q.bytes -= len(r.Value)
	r.Key, r.Value, r.Headers = nil, nil, nil
}

// finish removes a record, and with it those done before it that it held up.
func (q *queue) finish(r *Record) {
	q.forget(r)
	r.done = true
	n := 0
	for n < len(q.records) && q.records[n].done {
		n++
	}
	clear(q.records[:n])
	q.records = q.records[n:]
	q.next = max(q.next-n, 0)
	if q.moved != nil {
		close(q.moved)
		q.moved = nil
	}
}

// Flush waits until Kafka has acknowledged every record that was pushed before the call,
// and what was left in the spool before, or they were given up, or ctx ends, whose cause it
// then returns. Nothing is acknowledged after Shutdown. It is safe for several goroutines.
func (q *queue) Flush(ctx context.Context) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for upTo := q.pushed; len(q.records) > 0 && q.records[0].number <= upTo; {
		if err := q.awaitMove(ctx); err != nil {
			return err
		}
	}
	return nil
}

// awaitMove waits until a record is done, with the queue unlocked meanwhile.
func (q *queue) awaitMove(ctx context.Context) error {
	if q.moved == nil {
		q.moved = make(chan struct{})
	}
	moved := q.moved
	q.mu.Unlock()
	defer q.mu.Lock()
	select {
	case <-moved:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// startFailing notes, and logs, that records are to be sent again. It returns
// false if none was acknowledged since that happened last.
func (q *queue) startFailing(failure error) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.failing {
		return false
	}
	q.failing = true
	q.log.Warn("kafka did not take spans, sending them again", "err", failure)
	return true
}

// rewind makes take start again with the oldest record. Nothing may be in flight.
func (q *queue) rewind() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.failure, q.next = nil, 0
}

// Left is the number of spans not acknowledged. It is safe for several goroutines.
func (q *queue) Left() int {
	inMemory, spooled := q.waiting()
	return inMemory + spooled
}

// waiting is Left, by where they are.
func (q *queue) waiting() (inMemory, spooled int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range q.records {
		switch {
		case r.done:
		case r.place.spool == nil:
			inMemory += r.Spans
		default:
			spooled += r.Spans
		}
	}
	return inMemory, spooled
}

// late tells whether records are to go to the spool: because the oldest one waits
// for long, wherever it is, or because memory is short.
func (q *queue) late() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.records) > 0 && (time.Since(q.records[0].pushed) >= spoolAfter || q.bytes > q.limit/2)
}

// unspooled returns the oldest records that are in no spool, up to batchBytes, and
// what is in them.
func (q *queue) unspooled() (records []*Record, contents []Record) {
	q.mu.Lock()
	defer q.mu.Unlock()
	first := len(q.records)
	for first > 0 && q.records[first-1].place.spool == nil {
		first--
	}
	size := 0
	for _, r := range q.records[first:] {
		if r.done {
			continue
		}
		if size += r.size; size > batchBytes {
			break
		}
		records, contents = append(records, r), append(contents, *r)
	}
	return records, contents
}

// spooled notes that records are in a spool, from a number on, and will be sent from
// there. It returns how many spans they hold.
func (q *queue) spooled(records []*Record, s *spool, first uint64) (spans int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, r := range records {
		*r.place = place{s, first + uint64(i)}
		q.forget(r)
		spans += r.Spans
	}
	return spans
}

// firstIn returns the number of the oldest record in a spool that is not done, or of
// the one behind all.
func (q *queue) firstIn(s *spool) uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range q.records {
		if !r.done && r.place.spool == s {
			return r.place.id
		}
	}
	return s.end
}

func tooLarge(err error) bool {
	var ke kafka.Error
	return errors.As(err, &ke) && (ke.Code() == kafka.ErrMsgSizeTooLarge || ke.Code() == kafka.ErrRecordListTooLarge)
}
