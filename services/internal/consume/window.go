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
	ordered bool
	log     *slog.Logger

	mu         sync.Mutex
	changed    chan struct{} // closed and replaced when a waiting worker should look again
	partitions map[int32]*partition
	waiting    *list.List // of *Record, by order of arrival
	records    int        // in the window, finished but not in a prefix included
	bytes      int
	inFlight   int
	seq        uint64

	state     State
	since     time.Time
	ticks     uint64    // a clock of tries: one tick when a try begins, one when it fails
	succeeded uint64    // when the latest-begun try that succeeded began, in ticks
	probing   bool      // the one try allowed while holding is under way
	probeAt   time.Time // when the next one may begin
	waits     *backoff.ExponentialBackOff
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
}

func newWindow(ordered bool, log *slog.Logger) *window {
	return &window{
		ordered:    ordered,
		log:        log,
		changed:    make(chan struct{}),
		partitions: make(map[int32]*partition),
		waiting:    list.New(),
		state:      Delivering,
		since:      time.Now(),
		waits:      newBackoff(),
	}
}

func newBackoff() *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{
		InitialInterval:     firstWait,
		RandomizationFactor: 0.2,
		Multiplier:          2,
		MaxInterval:         maxWait / 12 * 10, // with jitter never above maxWait
	}
}

// wake makes every waiting worker look again. The caller holds mu.
func (w *window) wake() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// assign makes room for the partitions that have become ours.
func (w *window) assign(ids []int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range ids {
		w.partitions[id] = newPartition(id)
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
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.partitions[m.TopicPartition.Partition]
	if p == nil {
		return // taken away meanwhile
	}
	size := len(m.Key) + len(m.Value)
	p.add(int64(m.TopicPartition.Offset), size)
	w.seq++
	w.waiting.PushBack(&Record{Message: m, partition: p, seq: w.seq})
	w.records++
	w.bytes += size
	w.wake()
}

// full reports whether reading should pause; room whether it may go on again.
func (w *window) full() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.records >= maxRecords || w.bytes >= maxBytes
}

func (w *window) room() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.records <= maxRecords/2 && w.bytes <= maxBytes/2
}

// take blocks until a record may be tried, or ctx ends: then it returns nil.
// Each record it returns must be given back to finish.
func (w *window) take(ctx context.Context) *Record {
	for {
		w.mu.Lock()
		if ctx.Err() != nil {
			w.mu.Unlock()
			return nil
		}
		e, wait := w.pick(time.Now())
		if e != nil {
			r := w.try(e)
			w.mu.Unlock()
			return r
		}
		changed := w.changed
		w.mu.Unlock()

		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// pick chooses the record to try next: the oldest that may be tried, and while
// holding the oldest of those that are least suspect. If there is none, it
// says after how long to look again, unless something changes before.
func (w *window) pick(now time.Time) (*list.Element, time.Duration) {
	const idle = time.Hour
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

// try starts a try. The caller holds mu.
func (w *window) try(e *list.Element) *Record {
	r := w.waiting.Remove(e).(*Record)
	r.Try++
	if r.suspects > 0 && w.succeeded > r.failed {
		r.Isolated++
	}
	w.ticks++
	r.began = w.ticks
	r.probe = w.state == Holding
	if r.probe {
		w.probing = true
	}
	r.partition.inFlight++
	w.inFlight++
	return r
}

// finish takes a record back after a try that ended with err, in the sense of
// Handler; a permanent error means that the record is safely set aside. It
// reports whether the record is done with, or was taken away meanwhile.
func (w *window) finish(r *Record, err error) (done bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.wake()
	w.inFlight--
	r.partition.inFlight--
	if r.probe {
		w.probing = false
	}
	switch {
	case err == nil:
		w.counts.Done++
		w.succeeded = max(w.succeeded, r.began)
		w.deliver()
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
		records, bytes := r.partition.finish(int64(r.TopicPartition.Offset))
		w.records -= records
		w.bytes -= bytes
	}
	return true
}

// fail decides what follows from a try that failed for the time being.
func (w *window) fail(r *Record, err error) {
	now := time.Now()
	w.lastErr, w.lastErrAt = err, now
	var advice temporary
	if t := new(*temporary); errors.As(err, t) {
		advice = **t
	}
	w.ticks++
	r.failed = w.ticks
	if advice.suspect {
		r.suspects++
		r.notBefore = now.Add(ownWait(r.suspects))
		if w.succeeded > r.began && w.state == Delivering {
			return // something else was begun later and went through
		}
	}
	if w.state == Delivering {
		w.state, w.since = Holding, now
		w.waits.Reset()
		w.log.Warn("holding, trying again until it works", "err", err,
			"partition", r.TopicPartition.Partition, "offset", int64(r.TopicPartition.Offset))
	} else if !r.probe {
		return // begun before the consumer held: says nothing new
	}
	wait := w.waits.NextBackOff()
	w.probeAt = now.Add(max(wait, advice.after))
}

// ownWait is how long a suspect record waits by itself while others go on.
func ownWait(tries int) time.Duration {
	return min(firstWait<<min(tries-1, 10), maxWait)
}

// deliver notes a success. The caller holds mu.
func (w *window) deliver() {
	if w.state != Holding {
		return
	}
	now := time.Now()
	w.log.Info("delivering again", "took", now.Sub(w.since).Round(time.Millisecond), "waiting", w.waiting.Len())
	w.state, w.since = Delivering, now
}

// putBack inserts a record among the waiting ones by its order of arrival.
func (w *window) putBack(r *Record) {
	for e := w.waiting.Front(); e != nil; e = e.Next() {
		if e.Value.(*Record).seq > r.seq {
			w.waiting.InsertBefore(r, e)
			return
		}
	}
	w.waiting.PushBack(r)
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
		records, bytes := p.held()
		w.records -= records
		w.bytes -= bytes
		delete(w.partitions, id)
	}
	var dropped []*Record
	for e := w.waiting.Front(); e != nil; {
		next := e.Next()
		if r := e.Value.(*Record); r.partition.revoked {
			w.waiting.Remove(e)
			dropped = append(dropped, r)
		}
		e = next
	}
	w.wake()
	return dropped
}

// finished returns the offset to commit of each partition whose finished
// prefix has grown since the last call.
func (w *window) finished() map[int32]int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	var offsets map[int32]int64
	for id, p := range w.partitions {
		if p.next > p.stored {
			if offsets == nil {
				offsets = make(map[int32]int64)
			}
			offsets[id] = p.next
			p.stored = p.next
		}
	}
	return offsets
}

// stop ends the state for good.
func (w *window) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state, w.since = Stopped, time.Now()
}
