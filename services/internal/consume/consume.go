// Package consume reads one Kafka topic as a member of a consumer group and
// carries each record through a handler, at least once.
//
// Its promise: the offset of a record is committed only after the handler has
// finished that record and every record before it in its partition. A record
// the handler can never finish is set aside; a record it cannot finish now is
// tried again for as long as it takes, while polling goes on, so that the
// consumer keeps its place in the group. What is finished after its partition
// went to another member is forgotten: the new owner does it again.
//
// Three parts work side by side and never wait for each other: the poll loop
// (consumer.go) talks to the broker, the workers run the handler, and the
// window between them (window.go) decides which record may be tried when. The
// window knows nothing of Kafka clients or HTTP and takes its time from
// package time alone, so that it runs under testing/synctest.
//
// It does not batch, transform or produce anything.
package consume

import (
	"container/list"
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/opentracing/opentracing-go"

	"fault-tolerant-tracing/tracing/kafkaclient"
)

// Handler does the work for one record. It may block; ctx is cancelled only
// when a graceful stop has run out of time. It is called from several
// goroutines at once, for different records. The answer decides what becomes
// of the record:
//
//   - nil: it is done, and whatever the handler talks to works;
//   - [ErrSkip]: it is done, but that proves nothing about the endpoint;
//   - a [Permanent] error: it is set aside with the error as the reason;
//   - any other error is temporary: the consumer holds and tries again.
type Handler func(ctx context.Context, r *Record) error

// Record is one record on its way through the handler.
type Record struct {
	*kafka.Message

	// Try counts the calls of the handler for this record, from 1.
	Try int
	// Isolated counts the earlier tries that failed as [Suspect], and after
	// whose failure another record was tried and went through before this one
	// was tried again: evidence that the fault lies in the record, not in the
	// endpoint.
	Isolated int
	// State belongs to the handler and is kept from one try to the next.
	State any

	partition *partition
	slot      *slot
	seq       uint64        // order of arrival
	place     *list.Element // among the waiting ones; nil: not there
	key       uint64        // of Together
	weight    int
	grouped   bool   // noted among the waiting ones of its key
	suspects  int    // tries that failed as Suspect
	began     uint64 // when the last try began, and when it failed, in ticks of the window
	failed    uint64
	beganAt   time.Time
	call      *call     // the current try
	probe     bool      // the current try is the one try allowed while holding
	notBefore time.Time // the record's own wait
	reason    error     // decided: to be set aside for this reason
	span      opentracing.Span
}

// call is one try of one record, or of several that go together.
type call struct {
	left    int    // records that are not given back
	refused bool   // failed as Suspect
	before  uint64 // when another one last did so before, in ticks
}

// Together says which records may be handled by one call of the handler, and how.
// Nothing waits for others: what goes together waits anyway, because as many
// calls are under way as may be.
type Together struct {
	// Key is called once for each record in the order of reading, before the
	// record can be taken away, by one goroutine; it must not block. Records of
	// the same key may go together; 0: only alone. A record that failed as
	// Suspect is tried alone. Key may set Record.State.
	Key func(r *Record) (key uint64, weight int)
	// Weight and Bytes are what may go together at most: the sum of the weights,
	// and of the records' sizes. A record above that goes alone.
	Weight, Bytes int
	// Handle does the work for two or more records. Its answer holds for all of
	// them, as that of a Handler does for one; [ErrApart] says that they are to
	// be handled one by one, at once, by the Handler.
	Handle func(ctx context.Context, records []*Record) error
}

// ErrApart says that records cannot go together.
var ErrApart = errors.New("cannot go together")

// Outage is a time of holding that is over.
type Outage struct {
	Began, End time.Time // the first failure; the first success
	Attempts   int       // tries that failed
	Records    int       // read and unfinished at the end
	Errors     []string  // what failed, each text once, in the order of appearance, a few at most
}

// note counts a try that failed.
func (o *Outage) note(err error) {
	o.Attempts++
	if text := err.Error(); len(o.Errors) < maxErrors && !slices.Contains(o.Errors, text) {
		o.Errors = append(slices.Clip(o.Errors), text)
	}
}

// ErrSkip says that there was nothing to do for a record, a null value for
// example. The record is done, and the state of the consumer stays as it is.
var ErrSkip = errors.New("nothing to do")

// temporary is an error with advice on how to try again.
type temporary struct {
	err     error
	after   time.Duration
	suspect bool
}

func (t *temporary) Error() string { return t.err.Error() }
func (t *temporary) Unwrap() error { return t.err }

// RetryAfter says that the endpoint asked not to be tried again before d has
// passed. At most 30 s are honoured.
func RetryAfter(err error, d time.Duration) error {
	return &temporary{err: err, after: min(d, maxRetryAfter)}
}

// Suspect says that the fault may lie in the record itself: while holding, the
// next try takes another record, and [Record.Isolated] counts the evidence.
func Suspect(err error) error { return &temporary{err: err, suspect: true} }

// advice collects what RetryAfter and Suspect have said about an error.
func advice(err error) (after time.Duration, suspect bool) {
	for t := (*temporary)(nil); errors.As(err, &t); err = t.err {
		after, suspect = max(after, t.after), suspect || t.suspect
	}
	return after, suspect
}

type permanent struct{ err error }

func (p *permanent) Error() string { return p.err.Error() }
func (p *permanent) Unwrap() error { return p.err }

// Permanent says that a record can never be done. It is set aside with err as
// the reason, and then counts as done.
func Permanent(err error) error { return &permanent{err} }

// IsPermanent reports whether err, or an error it wraps, came from [Permanent].
func IsPermanent(err error) bool {
	var p *permanent
	return errors.As(err, &p)
}

const (
	slowStart = 1 // tries at once after an outage
	maxErrors = 5 // of an Outage

	firstWait     = 50 * time.Millisecond
	maxWait       = 500 * time.Millisecond // first delivery within 1 s of recovery
	maxRetryAfter = 30 * time.Second
	maxOwnWait    = 100 * time.Millisecond // of a suspect record: it keeps its place in memory until it is decided

	// What one consumer holds in memory; beyond it the partitions are paused.
	// Records that are finished behind an unfinished one are not held, only
	// their places are: they must not keep others from being tried, which is how
	// a bad record is told from a bad endpoint. A place takes 40 bytes.
	maxRecords = 10_000
	maxBytes   = 6 << 20
	maxSlots   = 250_000

	// A dead-letter topic that does not answer for so long counts as away.
	setAsideTimeout = 5 * time.Second

	// What the client fetches of a partition at a time, a larger record coming
	// alone; of all partitions; and what it keeps that has not been read.
	fetchBytes   = 1 << 20
	fetchTotal   = 4 << 20
	fetchedBytes = 4 << 20
)

// Config says what to read and what to do with it.
type Config struct {
	Cluster        kafkaclient.Cluster
	Group          string
	InstanceID     string        // static membership; empty: none
	SessionTimeout time.Duration // after which a silent member loses its partitions
	Topic          string

	InFlight int  // how many calls of the handler there are at once, at most
	Ordered  bool // at most one of them per partition, in the order of the topic
	// A call that takes longer halves the number of calls at once; each that does
	// not allows one more, up to InFlight. 0: how long they take does not matter.
	Slow time.Duration

	Handle Handler
	// Together, if there is one, says which records may go together. Not with
	// Ordered.
	Together *Together
	// SetAside keeps a record that can never be done; it blocks until the
	// record is safe. If it fails, the record is held, not dropped.
	SetAside func(ctx context.Context, r *Record, reason error) error
	// Recovered, if there is one, is told of each time of holding that is over. It
	// must not block.
	Recovered func(Outage)
	// Tracer, if there is one, traces each record as From_<topic>: from its
	// first try until it is done. The span is in the handler's context.
	Tracer opentracing.Tracer
	// StopTimeout bounds how long a graceful stop waits for the handler.
	StopTimeout time.Duration
	Log         *slog.Logger
}
