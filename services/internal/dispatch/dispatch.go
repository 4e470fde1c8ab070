// Package dispatch decides which records are tried when, and what becomes of each:
// delivered, or set aside with a reason. It is the one engine of everything that
// reads a topic and must lose nothing: the relay, its replay and redrive, and the
// services sentence and answer.
//
// Its promise: every record that was added is delivered or set aside, one record
// never blocks another unless they are ordered, and progress counts a record only when
// it and all before it in its partition are finished.
//
// The parts: a queue of records that were not tried yet; the suspects, attempts that
// were refused, those of several records apart, as most in them are innocent; a buffer for
// each stage, which bounds what it holds in memory; a breaker, which knows whether the
// endpoint works; a limiter of how much is tried at once; and evidence about each attempt. choose.go says what is tried next, decide.go
// what follows from the answer.
//
// What is refused is suspect, and tried again. With enough evidence, which is that others
// went through, it is split in halves, and a single piece is set aside. The endpoint
// counts as away when different attempts fail and none goes through.
//
// It talks to no broker and speaks no HTTP: of Kafka it knows the message type. It takes
// its time from package time alone, so that it runs under testing/synctest.
package dispatch

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"golang.org/x/time/rate"

	"fault-tolerant-tracing/services/internal/progress"
)

const (
	// What is held in memory, by stage. Beyond the first, reading pauses; beyond the
	// others, values are dropped and read again.
	freshBytes   = 6 << 20
	mixedBytes   = 3 << 20
	suspectBytes = 4 << 20
	deadBytes    = 4 << 20
	heavyBytes   = 4 << 20
	freshRecords = 10_000

	// maxPutOff records above largeBytes, at most, are put off: see [Dispatcher.putsOff].
	largeBytes = 64 << 10
	maxPutOff  = 2000

	// maxParked attempts are kept track of, some 600 bytes for each record in them; beyond
	// it reading pauses. Those that were refused together may be of hundreds of records.
	maxParked      = 100_000
	maxParkedMixed = 200

	// maxOverdue tries of one stage may wait for an answer without taking up a slot.
	maxOverdue = 512

	// noAnswer is after how long without an answer the endpoint, or for dead letters
	// Kafka, counts as away.
	noAnswer = 5 * time.Second

	// outageAfter is how long nothing must have gone through for an outage to be told
	// of. A burst of bad records among good ones opens the breaker for a moment.
	outageAfter = time.Second

	// maxOwnWait is how long a suspect waits by itself at most.
	maxOwnWait = 500 * time.Millisecond

	// lonelyTries is after how many tries an attempt is split where no record waits for
	// its first one.
	lonelyTries = 4

	// suspectShare is how many slots of first tries there are for one of suspects: what is
	// bad must not take up what the endpoint can do.
	suspectShare = 4

	// suspectRest is how many times as long as a try of a suspect took the next one waits
	// while records wait for their first.
	suspectRest = 3

	// triesOfTurn is how often a suspect is tried while others are parked: as often as it
	// takes to set one piece aside.
	triesOfTurn = 9

	maxFetch = 1024 // parked attempts of a stage that are read again at a time

	// Waits between failures to set aside, and to read again: there the others that
	// are parked wait, too.
	firstPause    = 100 * time.Millisecond
	maxPause      = 10 * time.Second
	maxFetchPause = time.Second

	idle = time.Hour // until something changes
)

// Config says what to do with the records.
type Config struct {
	InFlight int           // slots for first tries, and a quarter as many for those of suspects
	Ordered  bool          // one try of a partition at a time, of records that follow each other
	Slow     time.Duration // a try that goes through but takes longer halves the slots; 0: it does not matter

	// What is tried together at most, in pieces and bytes. A record above that goes
	// alone, and so does each if MaxRecords is 1; 0: any number of them.
	MaxRecords, MaxPieces, MaxBytes int
	Limit                           *rate.Limiter // of pieces; nil: there is none

	// Read, if there is one, is called once for each record, in the order of adding;
	// it must not block. It may set Pieces and State. A [Permanent] error has the
	// record set aside without a try, any other, as [ErrSkip], ends it.
	Read func(r *Record) error
	// Handle tries some parts, at least one. It may block and is called from several
	// goroutines. Its answer holds for all of the parts: nil, they are delivered;
	// ErrSkip, there was nothing to do; Partial, Permanent, Split; any other error has
	// them tried again. If they are ordered, only nil, ErrSkip and Partial hold for several
	// parts: after any other answer fewer are tried together, in the same order, and nothing
	// is held against any. ctx ends when the dispatcher stops, and, unless they are ordered,
	// when several parts have no answer while others go through.
	Handle func(ctx context.Context, parts []Part) error
	// SetAside keeps a part that can never be delivered. It is called in the
	// background, and blocks until the part is safe, for as long as that takes. If it
	// fails it is called again later.
	SetAside func(ctx context.Context, p Part, reason error) error
	// Fetch reads records of one partition again, in ascending order of offsets. What
	// is missing in the answer is no longer there. Without it no value is ever
	// dropped, and reading pauses sooner.
	Fetch func(ctx context.Context, partition int32, offsets []int64) (map[int64]*kafka.Message, error)
	// Finished, if there is one, is told of each record that is finished: err is nil,
	// ErrSkip, ErrForgotten, or why it, or the last part of it, was set aside. It must
	// not block.
	Finished func(r *Record, err error)
	// Recovered, if there is one, is told of each outage that is over. It must not
	// block.
	Recovered func(Outage)
	Log       *slog.Logger
}

// Dispatcher carries records through the handler. Make it with [New]. All methods
// are safe for several goroutines.
type Dispatcher struct {
	cfg     Config
	log     *slog.Logger
	changed chan struct{} // a token: look again what may be tried
	freed   chan struct{} // a token: there may be room to read on
	parked  chan struct{} // a token: there may be room to fetch what is parked
	drained chan struct{} // a token: something under way has ended

	work    sync.WaitGroup  // tries and letters under way
	working context.Context // of the handler and of letters
	stop    context.CancelFunc

	mu         sync.Mutex
	partitions map[int32]*partition
	queue      queue
	mixed      suspects // several records that were refused together, and halves of those
	suspects   suspects // single records that were refused, and parts of them
	running    map[*attempt]struct{}
	writing    map[*attempt]struct{} // letters
	buffers    [stages]*buffer
	large      int // the size of a record above which it may be put off
	breaker    breaker
	limiter    limiter
	batching   batching
	fromBack   bool  // the last one from the queue was taken from its back
	tookMixed  bool  // the last one that was not single and suspect was mixed
	last       stage // of the last attempt that began with the breaker closed
	luck       luck
	restUntil  time.Time // suspects are not tried before, if others wait
	ending     bool      // no more records come: a refusal counts though none goes through
	stopping   bool
	ticks      uint64    // a clock that counts the beginnings and the failures of tries
	passed     uint64    // the tick at which the latest-begun try that went through began
	passes     uint64    // counts from 1 those that went through
	passedAt   time.Time // when a try went through last
	report     report
}

type partition struct {
	progress.Progress
	id       int32
	stored   int64 // what was last handed out to be committed; -1: nothing
	anew     bool  // an offset below stored was read since: the topic was made anew
	underWay int   // tries and letters
	leaving  bool  // nothing more of it is tried
	gone     bool
	ctx      context.Context // ends when it is gone
	cancel   context.CancelFunc
}

// New makes a dispatcher.
func New(cfg Config) *Dispatcher {
	working, stop := context.WithCancel(context.Background())
	return &Dispatcher{
		cfg: cfg, log: cfg.Log,
		changed: make(chan struct{}, 1), freed: make(chan struct{}, 1), parked: make(chan struct{}, 1), drained: make(chan struct{}, 1),
		working: working, stop: stop,
		partitions: make(map[int32]*partition),
		queue:      newQueue(cfg.Ordered),
		running:    make(map[*attempt]struct{}),
		writing:    make(map[*attempt]struct{}),
		buffers:    [stages]*buffer{{stage: fresh, max: freshBytes}, {stage: mixed, max: mixedBytes}, {stage: suspect, max: suspectBytes}, {stage: dead, max: deadBytes}, {stage: heavy, max: heavyBytes}},
		large:      largeBytes,
		breaker:    newBreaker(),
		passes:     1,
		batching:   newBatching(cfg.MaxRecords),
		limiter:    limiter{max: cfg.InFlight, allowed: cfg.InFlight, slow: cfg.Slow},
		report:     report{state: Delivering, since: time.Now()},
	}
}

// Run tries what is added until ctx ends, and then waits for what is under way, for
// grace at most: then the context of the handler ends.
func (d *Dispatcher) Run(ctx context.Context, grace time.Duration) {
	defer d.stop()
	d.work.Go(func() { d.fetchParked(ctx) })
	for ctx.Err() == nil {
		d.mu.Lock()
		a, wait := d.next(time.Now())
		wait = min(wait, d.cutHopeless(time.Now()))
		d.mu.Unlock()
		if a != nil {
			d.work.Go(func() { d.try(a) })
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-d.changed:
		case <-timer.C:
		}
		timer.Stop()
	}
	defer time.AfterFunc(grace, d.stop).Stop()
	d.mu.Lock()
	d.stopping = true
	d.mu.Unlock()
	d.work.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.report.become(Stopped, time.Now())
}

// try calls the handler once.
func (d *Dispatcher) try(a *attempt) {
	err := d.cfg.Handle(a.ctx, a.parts)
	if a.ctx.Err() != nil && d.working.Err() == nil && err != nil {
		err = Split(err)
	}
	a.cut()
	d.finish(a, err)
}

func signal(token chan<- struct{}) {
	select {
	case token <- struct{}{}:
	default:
	}
}

// Add takes a record that was read from an assigned partition. It never blocks: see
// [Dispatcher.Full].
func (d *Dispatcher) Add(m *kafka.Message) {
	r := newRecord(m, time.Now())
	d.mu.Lock()
	r.partition = d.partitions[m.TopicPartition.Partition]
	d.mu.Unlock()
	if r.partition == nil {
		return // taken away meanwhile
	}
	var err error
	if d.cfg.Read != nil {
		err = d.cfg.Read(r)
	}
	r.left = max(r.Pieces, 1)
	d.mu.Lock()
	defer d.mu.Unlock()
	if r.partition.leaving || d.stopping {
		return
	}
	offset := int64(m.TopicPartition.Offset)
	r.partition.anew = r.partition.anew || offset < r.partition.stored
	r.mark = r.partition.Read(offset, r.Time)
	a := newAttempt([]*Record{r})
	d.buffers[fresh].hold(a)
	switch {
	case err == nil && d.putsOff(r):
		d.buffers[heavy].park(a)
		d.buffers[fresh].release(a)
		d.signalRoom()
	case err == nil:
		d.queue.push(r)
		signal(d.changed)
	case IsPermanent(err):
		d.convict(a, err)
	default:
		d.report.counts.Skipped++
		d.settle(a, err)
	}
}

// putsOff tells whether a record is parked before its first try, which it then has
// beside those of suspects: a large one, while more were refused than fit into memory,
// and what waits for its first try takes up half of its room.
// A wall of large ones, all of them bad, would else keep the good ones behind it until
// each of them was tried.
func (d *Dispatcher) putsOff(r *Record) bool {
	first := d.buffers[fresh]
	return d.cfg.Fetch != nil && !d.cfg.Ordered && r.size > d.large && first.used > first.max/2 &&
		len(d.buffers[suspect].parked) > 0 && len(d.buffers[heavy].parked) < maxPutOff
}

// Full reports whether reading should pause, and Room whether it may go on again.
func (d *Dispatcher) Full() bool { return d.fills(1) }

// Room is the opposite of [Dispatcher.Full], with some distance between them.
func (d *Dispatcher) Room() bool { return !d.fills(2) }

// fills tells whether a share of what may be held is there.
func (d *Dispatcher) fills(share int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.full(share)
}

func (d *Dispatcher) full(share int) bool {
	for _, b := range d.buffers[mixed:] {
		if d.cfg.Fetch == nil && b.used > b.max/share {
			return true
		}
	}
	f := d.buffers[fresh]
	return d.queue.records >= freshRecords/share || f.used >= f.max/share || d.parkedAttempts() >= maxParked/share ||
		len(d.buffers[mixed].parked) >= maxParkedMixed/share && !d.breaker.open
}

func (d *Dispatcher) parkedAttempts() (n int) {
	for _, b := range d.buffers {
		n += len(b.parked)
	}
	return n
}

// AwaitRoom blocks until there is room, for limit at most, and reports whether there
// is.
func (d *Dispatcher) AwaitRoom(limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for !d.Room() {
		select {
		case <-d.freed:
		case <-timer.C:
			return false
		}
	}
	return true
}
