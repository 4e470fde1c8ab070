package tracing

import (
	"errors"
	"log/slog"
	"slices"
	"sync"

	"fault-tolerant-tracing/tracing/batch"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// windowBytes is how much is in flight at a time. The producer copies what it is
// given, so this is what the transport needs beside its buffer; it is four of the
// largest requests.
const windowBytes = 4 << 20

// record is one batch on its way to Kafka.
type record struct {
	key     []byte
	value   []byte // nil when done
	spans   int
	done    bool // acknowledged, or given up
	suspect bool // was refused as too large, maybe for others in its request: to be sent alone
}

// outbox keeps records in order until Kafka has acknowledged them, and knows which
// of them may be sent next.
type outbox struct {
	limit  int // bytes
	log    *slog.Logger
	losses *losses
	wake   chan struct{} // gets a value when take may have a new answer

	mu            sync.Mutex
	records       []*record // oldest first; those done leave at the front
	next          int       // index of the first record not handed over since the last rewind
	bytes         int       // of all records not done
	inFlight      int
	inFlightBytes int
	alone         bool          // the one in flight is a suspect
	failure       error         // the first delivery error since the last rewind
	failing       bool          // nothing was acknowledged since the last failure
	empty         chan struct{} // closed when there is no record left; nil: nobody waits for that
}

func newOutbox(limit int, log *slog.Logger, l *losses) *outbox {
	return &outbox{limit: limit, log: log, losses: l, wake: make(chan struct{}, 1)}
}

// push adds a record, unless the buffer has no room for it.
func (o *outbox) push(r *record) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.bytes+len(r.value) > o.limit {
		return false
	}
	o.records = append(o.records, r)
	o.bytes += len(r.value)
	o.signal()
	return true
}

func (o *outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// take returns the next record to produce, or the failure to get over, or neither
// if there is nothing to do but wait.
func (o *outbox) take() (*record, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failure != nil {
		if o.inFlight > 0 {
			return nil, nil
		}
		return nil, o.failure
	}
	for o.next < len(o.records) && o.records[o.next].done {
		o.next++
	}
	if o.next == len(o.records) {
		return nil, nil
	}
	r := o.records[o.next]
	if o.inFlight > 0 && (o.alone || r.suspect || o.inFlightBytes+len(r.value) > windowBytes) {
		return nil, nil
	}
	o.next++
	o.inFlight++
	o.inFlightBytes += len(r.value)
	o.alone = r.suspect
	return r, nil
}

// settle takes note of what became of a record that was in flight.
func (o *outbox) settle(r *record, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.inFlight--
	o.inFlightBytes -= len(r.value)
	switch {
	case err == nil:
		if o.failing {
			o.failing = false
			o.log.Info("spans reach kafka again")
		}
		o.finish(r)
	case tooLarge(err) && r.suspect && o.halve(r):
	case tooLarge(err) && r.suspect:
		o.losses.add(&o.losses.failed, r.spans, "kafka refuses a record as too large: "+err.Error())
		o.finish(r)
	default:
		r.suspect = r.suspect || tooLarge(err) // a broker refuses all that came in one request: find out which
		if o.failure == nil {
			o.failure = err
		}
	}
	o.signal()
}

// halve puts two records in the place of one that Kafka refused alone, each with
// half of its spans and both with its number, to be sent next. It returns false if
// there is one span only. Of all limits only that of the buffer may be passed, by
// the size of the process.
func (o *outbox) halve(r *record) bool {
	frame, err := batch.Parse(r.value)
	if err != nil || frame.Spans() < 2 {
		return false
	}
	half := r.spans / 2
	first, second := frame.Slice(0, half), frame.Slice(half, r.spans)
	o.next = slices.Index(o.records, r)
	o.records = slices.Replace(o.records, o.next, o.next+1,
		&record{key: r.key, value: first, spans: half, suspect: true},
		&record{key: r.key, value: second, spans: r.spans - half, suspect: true})
	o.bytes += len(first) + len(second) - len(r.value)
	return true
}

// finish removes a record, and with it those done before it that it held up.
func (o *outbox) finish(r *record) {
	o.bytes -= len(r.value)
	r.done, r.value = true, nil
	n := 0
	for n < len(o.records) && o.records[n].done {
		n++
	}
	clear(o.records[:n])
	o.records = o.records[n:]
	o.next = max(o.next-n, 0)
	o.noteEmpty()
}

func (o *outbox) noteEmpty() {
	if o.empty != nil && len(o.records) == 0 {
		close(o.empty)
		o.empty = nil
	}
}

// whenEmpty returns a channel that is closed as soon as no record is left.
func (o *outbox) whenEmpty() <-chan struct{} {
	empty := make(chan struct{})
	o.mu.Lock()
	defer o.mu.Unlock()
	o.empty = empty
	o.noteEmpty()
	return empty
}

// startFailing notes, and logs, that records are to be sent again. It returns
// false if none was acknowledged since that happened last.
func (o *outbox) startFailing(failure error) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failing {
		return false
	}
	o.failing = true
	o.log.Warn("kafka did not take spans, sending them again", "err", failure)
	return true
}

// rewind makes take start again with the oldest record. Nothing may be in flight.
func (o *outbox) rewind() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failure, o.next = nil, 0
}

// left is the number of spans not acknowledged.
func (o *outbox) left() (spans int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range o.records {
		if !r.done {
			spans += r.spans
		}
	}
	return spans
}

func tooLarge(err error) bool {
	var ke kafka.Error
	return errors.As(err, &ke) && (ke.Code() == kafka.ErrMsgSizeTooLarge || ke.Code() == kafka.ErrRecordListTooLarge)
}
