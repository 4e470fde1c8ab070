package consume

import (
	"container/list"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// State says what a consumer is doing.
type State string

// The states of a consumer. Holding is no failure of the consumer: what it
// talks to is away or refuses, nothing is skipped, and it tries again.
const (
	Delivering State = "delivering"
	Holding    State = "holding"
	Stopped    State = "stopped"
)

// window holds the records that were read and are not yet part of a finished
// prefix, and decides which of them may be tried when. All methods are safe
// for several goroutines.
type window struct {
	ordered   bool
	inFlight  int // the most tries at once
	together  Together
	slow      time.Duration
	recovered func(Outage)
	log       *slog.Logger
	changed   chan struct{} // a token: one waiting worker should look again, and pass it on if it finds something
	freed     chan struct{} // a token: there may be room again

	mu         sync.Mutex
	partitions map[int32]*partition
	waiting    *list.List           // of *Record, by order of arrival
	groups     map[uint64][]*Record // the waiting ones by Record.key; what was tried is behind the others
	records    int                  // unfinished
	bytes      int                  // of the unfinished records
	slots      int                  // places of records: unfinished, or finished behind an unfinished one
	handled    int                  // records in the handler
	tries      int                  // calls of the handler for them
	seq        uint64

	state     State
	since     time.Time
	ticks     uint64    // a clock of tries: one tick when a try begins, one when it fails
	succeeded uint64    // when the latest-begun try that succeeded began, in ticks
	suspected uint64    // when a try last failed as Suspect, in ticks
	probing   bool      // the one try allowed while holding is under way
	probeAt   time.Time // when the next one may begin
	waits     *backoff.ExponentialBackOff
	outage    Outage    // while holding
	allowed   int       // tries at once: few after an outage, then more and more, fewer when they take long
	slowed    time.Time // when it was last made fewer
	counts    Counts
	lastErr   error
	lastErrAt time.Time
}

// Counts are totals since the start of the process.
type Counts struct {
	Done     uint64 `json:"done"`      // finished by the handler
	Skipped  uint64 `json:"skipped"`   // nothing to do
	SetAside uint64 `json:"set_aside"` // on the dead-letter queue
	Retries  uint64 `json:"retries"`   // tries that failed for the time being

	CommitErrors uint64 `json:"commit_errors"` // commits that Kafka refused; they go with the next one
}

func newWindow(cfg Config) *window {
	w := &window{
		ordered:    cfg.Ordered,
		inFlight:   cfg.InFlight,
		allowed:    cfg.InFlight,
		slow:       cfg.Slow,
		recovered:  cfg.Recovered,
		log:        cfg.Log,
		changed:    make(chan struct{}, 1),
		freed:      make(chan struct{}, 1),
		partitions: make(map[int32]*partition),
		waiting:    list.New(),
		groups:     make(map[uint64][]*Record),
		state:      Delivering,
		since:      time.Now(),
		waits:      newBackoff(),
	}
	if cfg.Together != nil {
		w.together = *cfg.Together
	}
	return w
}

func newBackoff() *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{
		InitialInterval:     firstWait,
		RandomizationFactor: 0.2,
		Multiplier:          2,
		MaxInterval:         maxWait / 12 * 10, // with jitter never above maxWait
	}
}

// wake makes a waiting worker look again.
func (w *window) wake() { signal(w.changed) }

func signal(token chan<- struct{}) {
	select {
	case token <- struct{}{}:
	default:
	}
}

// assign makes room for the partitions that have become ours.
func (w *window) assign(ids []int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range ids {
		w.partitions[id] = newPartition()
	}
}

// assigned returns the partitions that are assigned, in no order.
func (w *window) assigned() []int32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Keys(w.partitions))
}

// begin notes the committed offset of an assigned partition.
func (w *window) begin(id int32, offset int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.partitions[id]; p != nil {
		p.begin(offset)
	}
}

// add takes a record that was read from an assigned partition. It never
// blocks: see full.
func (w *window) add(m *kafka.Message) {
	r := &Record{Message: m}
	if w.together.Key != nil {
		r.key, r.weight = w.together.Key(r)
	}
	size := len(m.Key) + len(m.Value)
	for _, h := range m.Headers {
		size += len(h.Key) + len(h.Value)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	r.partition = w.partitions[m.TopicPartition.Partition]
	if r.partition == nil {
		return // taken away meanwhile
	}
	w.seq++
	r.seq = w.seq
	r.slot = r.partition.add(int64(m.TopicPartition.Offset), size, m.Timestamp)
	r.place = w.waiting.PushBack(r)
	w.group(r)
	w.records++
	w.bytes += size
	w.slots++
	w.wake()
}

// full reports whether reading should pause; room whether it may go on again.
func (w *window) full() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.records >= maxRecords || w.bytes >= maxBytes || w.slots >= maxSlots
}

func (w *window) room() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.roomy()
}

func (w *window) roomy() bool {
	return w.records <= maxRecords/2 && w.bytes <= maxBytes/2 && w.slots <= maxSlots/2
}

// awaitRoom blocks until there is room, for d at most, and reports whether there
// is.
func (w *window) awaitRoom(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for !w.room() {
		select {
		case <-w.freed:
		case <-timer.C:
			return false
		}
	}
	return true
}

// take blocks until a record may be tried, or ctx ends: then it returns nil.
// With the record it returns those that wait as well and may go together with
// it. All of them must be given back to finish.
func (w *window) take(ctx context.Context) []*Record {
	for ctx.Err() == nil {
		w.mu.Lock()
		e, wait := w.pick(time.Now())
		if e != nil {
			records := w.try(e)
			w.mu.Unlock()
			w.wake() // there may be more
			return records
		}
		w.mu.Unlock()

		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-w.changed:
		case <-timer.C:
		}
		timer.Stop()
	}
	w.wake() // the token may have been for another worker
	return nil
}

// pick chooses the record to try next: the oldest that may be tried, and while
// holding the oldest of those that are least suspect. If there is none, it
// says after how long to look again, unless something changes before.
func (w *window) pick(now time.Time) (*list.Element, time.Duration) {
	const idle = time.Hour
	if w.tries >= w.allowed {
		return nil, idle
	}
	if w.state == Holding {
		if w.probing {
			return nil, idle
		}
		if wait := w.probeAt.Sub(now); wait > 0 {
			return nil, wait
		}
	}
	var best *list.Element
	wait := idle
	var busy map[*partition]bool
	if w.ordered {
		busy = make(map[*partition]bool)
	}
	for e := w.waiting.Front(); e != nil; e = e.Next() {
		r := e.Value.(*Record)
		if w.ordered {
			if busy[r.partition] || r.partition.inFlight > 0 {
				continue
			}
			busy[r.partition] = true
		}
		if w.state == Holding {
			if best == nil || r.suspects < best.Value.(*Record).suspects {
				best = e
			}
			if r.suspects == 0 {
				break
			}
			continue
		}
		if left := r.notBefore.Sub(now); left > 0 {
			wait = min(wait, left)
			continue
		}
		return e, 0
	}
	return best, wait
}

// try starts a try, of the record at e and of those that go together with it.
// The caller holds mu.
func (w *window) try(e *list.Element) []*Record {
	first := w.unlist(e)
	w.ungroup(first)
	records := []*Record{first}
	if first.suspects == 0 && w.state == Delivering {
		records = w.gather(first)
	}
	w.tries++
	call := &call{left: len(records)}
	w.ticks++
	for _, r := range records {
		r.Try++
		if r.failed > 0 && w.succeeded > r.failed {
			r.Isolated++
		}
		r.failed, r.began, r.beganAt, r.call = 0, w.ticks, time.Now(), call
		r.probe = w.state == Holding
		if r.probe {
			w.probing = true
		}
		r.partition.inFlight++
		w.handled++
	}
	return records
}

// alone begins a try of one record of several that could not go together, unless
// there is to be none: while holding it goes back to those that wait, and what was
// taken away is not tried any more. It reports whether there is one, a record
// without being given back, and whether the record was taken away.
func (w *window) alone(r *Record) (begun, revoked bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case r.partition.revoked:
		w.giveBack(r)
		revoked = true
	case w.state == Holding:
		w.giveBack(r)
		w.putBack(r)
	default:
		w.ticks++
		r.began, r.beganAt = w.ticks, time.Now()
		r.call.refused = false
		begun = true
	}
	w.wake()
	return begun, revoked
}

// giveBack ends a try. The caller holds mu.
func (w *window) giveBack(r *Record) {
	w.handled--
	r.partition.inFlight--
	if r.call.left--; r.call.left == 0 {
		w.tries--
	}
}

// unlist takes a record out of the waiting ones. The caller holds mu.
func (w *window) unlist(e *list.Element) *Record {
	r := w.waiting.Remove(e).(*Record)
	r.place = nil
	return r
}

// group notes a waiting record among those of its key. What is suspect is tried
// alone. The caller holds mu.
func (w *window) group(r *Record) {
	if r.key != 0 && r.suspects == 0 && !r.grouped {
		r.grouped = true
		w.groups[r.key] = append(w.groups[r.key], r)
	}
}

// ungroup is the opposite of group. The caller holds mu.
func (w *window) ungroup(r *Record) {
	if !r.grouped {
		return
	}
	r.grouped = false
	queue := w.groups[r.key]
	if queue[0] == r { // unless it was tried before
		queue[0], queue = nil, queue[1:]
	} else {
		queue = slices.DeleteFunc(queue, func(other *Record) bool { return other == r })
	}
	w.regroup(r.key, queue)
}

func (w *window) regroup(key uint64, queue []*Record) {
	if len(queue) > 0 {
		w.groups[key] = queue
	} else {
		delete(w.groups, key)
	}
}

// gather returns the record and those of its key that wait as well, as many as
// may go together. The caller holds mu.
func (w *window) gather(first *Record) []*Record {
	records := []*Record{first}
	if first.key == 0 {
		return records
	}
	weight, bytes := first.weight, first.slot.bytes
	queue := w.groups[first.key]
	for len(queue) > 0 {
		r := queue[0]
		weight, bytes = weight+r.weight, bytes+r.slot.bytes
		if weight > w.together.Weight || bytes > w.together.Bytes {
			break
		}
		records = append(records, w.unlist(r.place))
		r.grouped = false
		queue[0], queue = nil, queue[1:]
	}
	w.regroup(first.key, queue)
	return records
}

// finish takes a record back after a try that ended with err, in the sense of
// Handler; a permanent error means that the record is safely set aside. It
// reports whether the record is done with, or was taken away meanwhile.
func (w *window) finish(r *Record, err error) (done bool) {
	w.mu.Lock()
	outage := w.outage
	outage.Records = w.records
	done = w.settle(r, err)
	over := outage.Attempts > 0 && w.state == Delivering
	if over {
		w.outage = Outage{}
		outage.End = w.since
	}
	if w.roomy() {
		signal(w.freed)
	}
	w.mu.Unlock()
	w.wake()
	if over && w.recovered != nil {
		w.recovered(outage)
	}
	return done
}

// settle is finish without what others are told of it. The caller holds mu.
func (w *window) settle(r *Record, err error) (done bool) {
	w.giveBack(r)
	if r.probe {
		w.probing = false
	}
	switch {
	case err == nil:
		w.counts.Done++
		w.succeeded = max(w.succeeded, r.began)
		if r.probe { // what was begun before says nothing about now
			w.deliver()
		} else {
			w.pace(r)
		}
	case errors.Is(err, ErrSkip):
		w.counts.Skipped++
	case IsPermanent(err):
		w.counts.SetAside++
	default:
		w.counts.Retries++
		w.fail(r, err)
		if !r.partition.revoked {
			w.putBack(r)
		}
		return r.partition.revoked
	}
	if !r.partition.revoked {
		w.records--
		w.bytes -= r.slot.bytes
		w.slots -= r.partition.finish(r.slot)
	}
	return true
}

// pace lets one more try go on at once after each success, and half as many
// after one that took long. The caller holds mu.
func (w *window) pace(r *Record) {
	switch now := time.Now(); {
	case w.slow == 0 || now.Sub(r.beganAt) <= w.slow:
		w.allowed = min(w.allowed+1, w.inFlight)
	case r.beganAt.After(w.slowed): // else it was begun when more were allowed
		w.allowed, w.slowed = max(w.allowed/2, 1), now
	}
}

// fail decides what follows from a try that failed for the time being.
func (w *window) fail(r *Record, err error) {
	now := time.Now()
	w.lastErr, w.lastErrAt = err, now
	after, suspect := advice(err)
	w.ticks++
	if suspect {
		if !r.call.refused { // what is refused together is refused once
			r.call.refused, r.call.before = true, w.suspected
		}
		last := r.call.before
		w.suspected = w.ticks
		r.failed = w.ticks
		r.suspects++
		r.notBefore = now.Add(ownWait(r.suspects))
		if w.succeeded > min(last, r.began) && w.state == Delivering {
			return // something else was begun later, or since the last such failure, and went through
		}
	}
	if w.state == Delivering {
		w.state, w.since = Holding, now
		w.outage.Began = now
		w.waits.Reset()
		w.log.Warn("holding, trying again until it works", "err", err,
			"partition", r.TopicPartition.Partition, "offset", int64(r.TopicPartition.Offset))
	} else if !r.probe {
		return // begun before the consumer held: says nothing new
	}
	w.outage.note(err)
	wait := w.waits.NextBackOff()
	w.probeAt = now.Add(max(wait, after))
}

// ownWait is how long a suspect record waits by itself while others go on.
func ownWait(tries int) time.Duration {
	return min(firstWait<<min(tries-1, 10), maxOwnWait)
}

// deliver notes a success. The caller holds mu.
func (w *window) deliver() {
	if w.state != Holding {
		return
	}
	now := time.Now()
	w.log.Info("delivering again", "took", now.Sub(w.since).Round(time.Millisecond), "waiting", w.waiting.Len())
	w.state, w.since = Delivering, now
	w.allowed = min(slowStart, w.inFlight)
}

// putBack inserts a record among the waiting ones by its order of arrival. The
// caller holds mu.
func (w *window) putBack(r *Record) {
	w.group(r)
	for e := w.waiting.Front(); e != nil; e = e.Next() {
		if e.Value.(*Record).seq > r.seq {
			r.place = w.waiting.InsertBefore(r, e)
			return
		}
	}
	r.place = w.waiting.PushBack(r)
}

// forget drops everything of the partitions: they belong to somebody else now.
// It returns the records that waited. Those in flight may go on; their end
// moves nothing.
func (w *window) forget(ids []int32) []*Record {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range ids {
		p := w.partitions[id]
		if p == nil {
			continue
		}
		p.revoked = true
		records, bytes := p.unfinished()
		w.records -= records
		w.bytes -= bytes
		w.slots -= len(p.slots)
		delete(w.partitions, id)
	}
	var dropped []*Record
	clear(w.groups)
	for e := w.waiting.Front(); e != nil; {
		next := e.Next()
		r := e.Value.(*Record)
		r.grouped = false
		if r.partition.revoked {
			dropped = append(dropped, w.unlist(e))
		} else {
			w.group(r)
		}
		e = next
	}
	signal(w.freed)
	w.wake()
	return dropped
}

// finished returns the offset to commit of each partition whose finished
// prefix has moved since the last call, and of these once more those that have
// moved back, because the offsets of the topic have started again.
func (w *window) finished() (moved, back map[int32]int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, p := range w.partitions {
		if p.next != p.stored {
			moved = note(moved, id, p.next)
		}
		if p.next < p.stored {
			back = note(back, id, p.next)
		}
		p.stored = p.next
	}
	return moved, back
}

func note(offsets map[int32]int64, id int32, next int64) map[int32]int64 {
	if offsets == nil {
		offsets = make(map[int32]int64)
	}
	offsets[id] = next
	return offsets
}

// ends notes the ends of partitions, as the broker told.
func (w *window) ends(high map[int32]int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, offset := range high {
		if p := w.partitions[id]; p != nil {
			p.high = offset
		}
	}
}

// stop ends the state for good.
func (w *window) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state, w.since = Stopped, time.Now()
}
