// Package dispatch decides which records are tried when, and what becomes of each:
// delivered, or set aside with a reason. It is the one engine of everything that
// reads a topic and must lose nothing: the relay, its replay and redrive, and the
// services sentence and answer.
//
// Its promise: every record that was added is delivered or set aside, one record
// never blocks another, and progress counts a record only when it and all before it
// in its partition are finished.
//
// The parts: a queue of records that were not tried yet; the suspects, attempts that
// were refused; a buffer for each stage, which bounds what it holds in memory; a
// breaker, which knows whether the endpoint works; a limiter of how much is tried at
// once; and evidence about each attempt. What is refused while others go through is
// suspect. A suspect is tried again; with enough evidence it is split in halves, and
// a single piece is set aside. The endpoint counts as away when different attempts
// fail and none goes through.
//
// It knows nothing of Kafka clients or HTTP, and takes its time from package time
// alone, so that it runs under testing/synctest.
package dispatch

import (
	"container/heap"
	"context"
	"log/slog"
	"slices"
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
	suspectBytes = 4 << 20
	deadBytes    = 4 << 20
	freshRecords = 10_000

	// maxParked attempts are kept track of, 200 bytes each; beyond it reading pauses.
	maxParked = 100_000

	// maxOverdue tries of one stage may wait for an answer without taking up a slot.
	maxOverdue = 512

	// noAnswer is after how long without an answer the endpoint counts as away.
	noAnswer = 5 * time.Second

	maxFetch     = 64 // parked attempts that are read again at a time
	firstPause   = 100 * time.Millisecond
	maxPause     = 10 * time.Second
	maxOwnWait   = 500 * time.Millisecond
	lonelyProbes = 4

	idle = time.Hour // until something changes
)

// Config says what to do with the records.
type Config struct {
	InFlight int           // how many first tries there are at once at most, and as many of suspects
	Ordered  bool          // one record of a partition at a time, in the order of reading
	Slow     time.Duration // a try that takes longer halves the number at once; 0: it does not matter

	// What is tried together at most, in pieces and bytes. A record above that goes
	// alone.
	MaxPieces, MaxBytes int
	Limit               *rate.Limiter // of pieces; nil: there is none

	// Read, if there is one, is called once for each record, in the order of adding;
	// it must not block. It may set Group, Pieces and State. [ErrSkip] ends the
	// record, a [Permanent] error has it set aside without a try.
	Read func(r *Record) error
	// Handle tries some parts, at least one, all of one group. It may block and is
	// called from several goroutines. Its answer holds for all of the parts: nil,
	// they are delivered; ErrSkip, there was nothing to do; Permanent, Split; any
	// other error has them tried again.
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
	suspects   suspects // the next one to try first, with container/heap
	running    map[*attempt]struct{}
	buffers    [stages]*buffer
	breaker    breaker
	limiter    limiter
	latest     bool  // the last one from the queue was its latest record
	last       stage // of the last attempt that began with the breaker closed
	luck       luck
	ending     bool // no more records come: a refusal counts though none goes through
	stopping   bool
	ticks      uint64 // counts the beginnings and the failures of tries
	passed     uint64 // when the latest-begun try that went through began
	passes     uint64 // counts from 1 those that went through
	report     report
}

type partition struct {
	progress.Progress
	id      int32
	stored  int64 // what was last handed out to be committed; -1: nothing
	anew    bool  // its offsets have started again since
	busy    int   // tries and letters under way
	leaving bool  // nothing more of it is tried
	gone    bool
	ctx     context.Context // ends when it is gone
	cancel  context.CancelFunc
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
		buffers:    [stages]*buffer{{stage: fresh, max: freshBytes}, {stage: suspect, max: suspectBytes}, {stage: dead, max: deadBytes}},
		breaker:    newBreaker(),
		passes:     1,
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
		d.mu.Unlock()
		if a != nil {
			d.work.Go(func() { d.finish(a, d.cfg.Handle(d.working, a.parts)) })
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
	if d.cfg.Ordered {
		r.Group = uint64(r.partition.id) + 1
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
	f, s, x := d.buffers[fresh], d.buffers[suspect], d.buffers[dead]
	if d.cfg.Fetch == nil && (s.used > s.max/share || x.used > x.max/share) {
		return true
	}
	return d.queue.records >= freshRecords/share || f.used >= f.max/share || len(s.parked)+len(x.parked) >= maxParked/share
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

// next chooses what to try: suspects whose time has come, and records that were not
// tried yet. They take turns, each within slots of their own. While the breaker is
// open what was not tried yet goes first, one at a time, so that each probe is another
// one. If there is nothing, it says after how long to look again, unless something
// changes before.
func (d *Dispatcher) next(now time.Time) (a *attempt, wait time.Duration) {
	if wait := d.throttle(now); wait > 0 {
		return nil, wait
	}
	if d.breaker.open {
		if wait := d.awaitProbe(now); wait > 0 {
			return nil, wait
		}
		if a = d.fromQueue(1); a == nil {
			a = d.suspects.pop()
		}
		if a == nil {
			return nil, idle
		}
		a.probe = true
		return d.begin(a, now), 0
	}
	untried, again := d.awaitQueue(now), d.awaitSuspect(now)
	switch {
	case untried > 0 && again > 0:
		return nil, min(untried, again)
	case again > 0 || untried <= 0 && d.last == suspect:
		a = d.fromQueue(freshRecords)
	default:
		a = d.suspects.pop()
	}
	d.last = a.stage
	return d.begin(a, now), 0
}

// awaitQueue says how long to wait for a try of what was not tried yet.
func (d *Dispatcher) awaitQueue(now time.Time) time.Duration {
	if d.queue.empty() {
		return idle
	}
	return d.awaitSlot(fresh, d.limiter.allowed, now)
}

// awaitSuspect says how long to wait for a try of a suspect.
func (d *Dispatcher) awaitSuspect(now time.Time) time.Duration {
	if len(d.suspects) == 0 {
		return idle
	}
	return max(d.suspects[0].due.Sub(now), d.awaitSlot(suspect, d.limiter.allowed, now))
}

// throttle says how long to wait for the limit of pieces.
func (d *Dispatcher) throttle(now time.Time) time.Duration {
	if d.cfg.Limit == nil {
		return 0
	}
	missing := 1 - d.cfg.Limit.TokensAt(now)
	if missing <= 0 {
		return 0
	}
	return max(time.Duration(missing/float64(d.cfg.Limit.Limit())*float64(time.Second)), time.Millisecond)
}

// fromQueue takes what was not tried yet. While tries fail or have no answer, every
// other one is the latest record, lest all that is left be behind a run of bad ones.
func (d *Dispatcher) fromQueue(maxRecords int) *attempt {
	var records []*Record
	if d.latest = !d.latest && (d.breaker.doubtful() || len(d.running) >= d.limiter.allowed); d.latest {
		records = d.queue.takeLast()
	} else {
		records = d.queue.take(maxRecords, d.cfg.MaxPieces, d.cfg.MaxBytes)
	}
	if records == nil {
		return nil
	}
	return newAttempt(records)
}

// awaitProbe says how long to wait for the next probe, which may begin when none is
// under way, or only some that take too long.
func (d *Dispatcher) awaitProbe(now time.Time) time.Duration {
	wait := d.breaker.retryAt.Sub(now)
	probes := 0
	for a := range d.running {
		if a.probe {
			probes++
			wait = max(wait, a.began.Add(slowProbe).Sub(now))
		}
	}
	if probes >= maxProbes {
		return idle
	}
	return wait
}

// awaitSlot says how long to wait for a slot of a stage. A try that is overdue while
// others go through does not take one up: it is suspect by now. Where even the latest
// one is overdue, another may begin, which tells whether the endpoint still answers.
func (d *Dispatcher) awaitSlot(s stage, slots int, now time.Time) time.Duration {
	taken, overdue, wait, latest := 0, 0, idle, -idle
	for a := range d.running {
		if a.stage != s {
			continue
		}
		left := a.began.Add(d.limiter.overdue()).Sub(now)
		switch {
		case left > 0:
			taken++
			wait, latest = min(wait, left), max(latest, left)
		case d.passed > a.tick && overdue < maxOverdue && d.suspectRoom(a):
			overdue++
		default:
			taken++
		}
	}
	switch {
	case taken < slots:
		return 0
	case taken < slots+maxProbes:
		wait = min(wait, max(latest, 0))
	}
	return wait
}

// suspectRoom tells whether a try that is overdue is held as a suspect.
func (d *Dispatcher) suspectRoom(a *attempt) bool {
	if a.stage == suspect {
		return true
	}
	if !d.buffers[suspect].admit(a) {
		return false
	}
	d.buffers[fresh].release(a)
	signal(d.freed)
	return true
}

// begin begins a try.
func (d *Dispatcher) begin(a *attempt, now time.Time) *attempt {
	if a.answered && (d.passed > a.tick || d.ending) {
		a.isolated++
	}
	d.ticks++
	a.tick, a.began = d.ticks, now
	d.running[a] = struct{}{}
	a.occupy(1)
	for pieces := a.pieces(); d.cfg.Limit != nil && pieces > 0; {
		n := min(pieces, d.cfg.Limit.Burst())
		d.cfg.Limit.ReserveN(now, n)
		pieces -= n
	}
	return a
}

// finish takes an attempt back after a try that ended with err.
func (d *Dispatcher) finish(a *attempt, err error) {
	d.mu.Lock()
	outage := d.end(a, err, time.Now())
	d.mu.Unlock()
	signal(d.changed)
	if outage != nil && d.cfg.Recovered != nil {
		d.cfg.Recovered(*outage)
	}
}

// end is finish without what others are told of it.
func (d *Dispatcher) end(a *attempt, err error, now time.Time) (over *Outage) {
	delete(d.running, a)
	a.occupy(-1)
	signal(d.drained)
	switch v := verdictOf(err); {
	case err == nil:
		over = d.pass(a, now)
		d.settle(a, nil)
	case err == ErrSkip: //nolint:errorlint // it is never wrapped
		d.report.counts.Skipped += uint64(len(a.parts))
		d.settle(a, err)
	case d.working.Err() != nil:
		d.requeue(a, now) // cut short by the stop
	case v.permanent:
		d.convict(a, err)
	case v.split && a.pieces() > 1:
		d.split(a, now)
	case v.split:
		d.convict(a, err)
	default:
		d.refuse(a, err, v, now)
	}
	a.probe = false
	d.rest(now)
	return over
}

// pass notes that an attempt went through.
func (d *Dispatcher) pass(a *attempt, now time.Time) (over *Outage) {
	d.passed = max(d.passed, a.tick)
	d.passes++
	d.luck.learn(a.isolated)
	if !d.breaker.succeed(a.probe) {
		d.limiter.succeed(a.began, now)
		return nil
	}
	d.limiter.restart()
	d.acquit()
	outage := d.report.recover(now, d.unfinished())
	d.log.Info("delivering again", "took", outage.End.Sub(outage.Began).Round(time.Millisecond), "waiting", outage.Records)
	return &outage
}

// acquit lets records that were refused only while nothing went through begin anew,
// as far as there is room for them, so that they can be tried together. It does that
// once for each, lest a guilty one be acquitted for ever. Ordered records are tried
// alone, and keep their place.
func (d *Dispatcher) acquit() {
	if d.cfg.Ordered {
		return
	}
	d.suspects = slices.DeleteFunc(d.suspects, func(a *attempt) bool {
		if a.isolated > 0 || a.split || slices.ContainsFunc(a.parts, func(p Part) bool { return p.acquitted }) || !d.buffers[fresh].admit(a) {
			return false
		}
		d.buffers[suspect].release(a)
		records := make([]*Record, len(a.parts))
		for i, p := range a.parts {
			records[i], p.acquitted = p.Record, true
		}
		d.queue.putBack(records)
		return true
	})
	heap.Init(&d.suspects)
}

// refuse decides what follows from a try that was refused.
func (d *Dispatcher) refuse(a *attempt, err error, v verdict, now time.Time) {
	d.report.refused(err, now)
	opened := d.breaker.fail(now, failure{
		probe: a.probe, explained: d.explained(a, v), again: a.failed > d.passed && (!a.suspected() || v.unreachable),
		answered: !v.unreachable, untried: !d.queue.empty(), after: v.after,
	})
	if opened {
		d.report.hold(now)
		d.log.Warn("holding, trying again until it works", "err", err,
			"partition", a.parts[0].TopicPartition.Partition, "offset", int64(a.parts[0].TopicPartition.Offset))
	}
	if d.breaker.open {
		d.report.outage.note(err)
	}
	d.ticks++
	a.refused, a.failed, a.answered = a.refused+1, d.ticks, !v.unreachable
	doubt := doubtSetAside
	lonely := a.probe && a.refused >= lonelyProbes && d.queue.empty()
	if a.pieces() > 1 {
		doubt = doubtSplit
	}
	guilty := !v.unreachable && (v.conclusive && a.isolated > 0 || !d.luck.explains(a.isolated, doubt))
	switch {
	case a.pieces() > 1 && !v.unreachable && (guilty || lonely):
		d.split(a, now)
	case guilty:
		d.convict(a, err)
	default:
		a.due = now.Add(max(ownWait(a.refused), v.after))
		d.doubt(a)
	}
}

// explained tells whether a refusal says nothing about the endpoint, because others
// went through. If that was before the last refusals only, it counts once, so that
// some such suspects together are evidence again.
func (d *Dispatcher) explained(a *attempt, v verdict) bool {
	switch {
	case d.passed > a.tick:
		return true
	case !a.suspected() || v.unreachable:
		return false
	case a.failed < d.passed || a.counted == d.passes:
		return true
	}
	a.counted = d.passes
	return false
}

// ownWait is how long a suspect waits by itself.
func ownWait(refused int) time.Duration {
	return min(firstWait<<min(refused-1, 10), maxOwnWait)
}

// split tries the halves of an attempt. What spoke against it does not speak against
// them.
func (d *Dispatcher) split(a *attempt, now time.Time) {
	first, second := a.halves()
	for _, half := range []*attempt{first, second} {
		half.due, half.split, half.kin = now, true, a.kin || a.isolated > 0
		d.buffers[a.stage].hold(half)
	}
	d.release(a)
	d.doubt(first)
	d.doubt(second)
}

// requeue lets an attempt wait as a suspect to which nothing happened.
func (d *Dispatcher) requeue(a *attempt, now time.Time) {
	a.due = now
	d.doubt(a)
}

// doubt puts an attempt among the suspects, or parks it.
func (d *Dispatcher) doubt(a *attempt) {
	if d.keep(a) && d.move(a, suspect) {
		d.suspects.push(a)
	}
}

// move takes an attempt to the buffer of a stage, and reports whether there is room
// for its value: else it is parked. It goes behind those that are parked already,
// even if it was in that buffer before, so that they take turns.
func (d *Dispatcher) move(a *attempt, to stage) bool {
	from, b := d.buffers[a.stage], d.buffers[to]
	queued := len(b.parked) > 0
	if a.stage == to && !queued {
		return true
	}
	admitted := !queued && b.admit(a)
	switch {
	case admitted:
	case d.cfg.Fetch == nil:
		b.hold(a)
		admitted = true
	default:
		a.stage = to
		b.parked = append(b.parked, a)
	}
	from.release(a)
	d.room()
	return admitted
}

// release gives the room of an attempt back, and tells those that wait for it.
func (d *Dispatcher) release(a *attempt) {
	d.buffers[a.stage].release(a)
	d.room()
}

// room tells those that wait for room.
func (d *Dispatcher) room() {
	signal(d.parked)
	if !d.full(2) {
		signal(d.freed)
	}
}

// convict has each part of an attempt set aside.
func (d *Dispatcher) convict(a *attempt, reason error) {
	for _, p := range a.parts {
		d.queue.finished(p.Record)
		letter := &attempt{parts: []Part{p}, reason: reason}
		d.buffers[a.stage].hold(letter)
		if d.keep(letter) {
			d.report.letters++
			if d.move(letter, dead) {
				d.write(letter)
			}
		}
	}
	d.release(a)
}

// settle ends parts that are delivered, skipped or set aside.
func (d *Dispatcher) settle(a *attempt, err error) {
	for _, p := range a.parts {
		if p.partition.gone || p.forgotten {
			d.forgotten(p.Record)
			continue
		}
		p.delivered = p.delivered || err == nil
		if p.left -= p.To - p.From; p.left > 0 {
			continue
		}
		if p.delivered {
			d.report.counts.Done++
		}
		d.queue.finished(p.Record)
		p.mark.Done()
		if d.cfg.Finished != nil {
			d.cfg.Finished(p.Record, err)
		}
	}
	d.release(a)
}
