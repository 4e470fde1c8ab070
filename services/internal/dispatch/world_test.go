package dispatch

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// world is a simulated broker and collector, and what became of each record there.
type world struct {
	plan
	mu      sync.Mutex // of all below, and of the records
	rng     *rand.Rand // of the collector: which try draws from it first is not told by the seed
	topic   []*log
	members []*member
	records []*record

	endpoint   condition
	changed    chan struct{} // closed when the endpoint changes
	since      time.Time     // when it last changed
	letters    trouble
	fetches    trouble
	unlucky    int // good pieces that were set aside where that may happen
	violations []string
	trace      func(format string, args ...any)
}

// log is what a partition holds.
type log struct {
	generation int
	low        int64
	records    []*record // by offset; nil: a transaction marker
	committed  int64     // -1: nothing
	of         int       // the generation that was committed
}

func (l *log) end() int64 { return int64(len(l.records)) }

// pieces is a set of the pieces of a record.
type pieces uint32

func span(from, to int) pieces { return 1<<to - 1<<from }

// record is one on the topic, with its fate.
type record struct {
	partition  int32
	offset     int64
	generation int
	at         time.Time
	value      []byte
	pieces     int
	keeper     bool

	bad      pieces // are always refused
	answer   answer
	refusals int           // still to come
	lost     int           // tries that will be taken and refused all the same
	slow     time.Duration // takes that long
	garbage  bool
	null     bool
	gone     bool // deleted by retention

	delivered, aside pieces
	skipped          bool
}

func (r *record) all() pieces { return span(0, r.pieces) }

// done tells whether it may be committed.
func (r *record) done() bool { return r.skipped || r.delivered|r.aside == r.all() }

func (r *record) good() bool { return !r.garbage && !r.null && r.bad == 0 }

func (r *record) message() *kafka.Message {
	return &kafka.Message{
		TopicPartition: kafka.TopicPartition{Partition: r.partition, Offset: kafka.Offset(r.offset)},
		Value:          r.value, Timestamp: r.at,
	}
}

func (r *record) String() string {
	short := *r
	short.value = short.value[:min(len(short.value), 8)]
	type plain record // without String
	return fmt.Sprintf("record %d/%d of generation %d %+v", r.partition, r.offset, r.generation, plain(short))
}

// answer is how the collector refuses.
type answer int

const (
	plain      answer = iota // 500, 503, 403
	conclusive               // 400
	tooLarge                 // 413
	hang                     // none
	cut                      // the connection ends
	partial                  // it takes the others
	answers
)

const postTimeout = 10 * time.Second

func (a answer) err() error {
	switch a {
	case conclusive:
		return Conclusive(errors.New("400"))
	case tooLarge:
		return Split(errors.New("413"))
	case hang:
		return context.DeadlineExceeded
	case cut:
		return errors.New("EOF")
	}
	return errors.New("500")
}

// condition is how the endpoint is.
type condition int

const (
	up condition = iota
	unreachable
	refusing   // 503
	overloaded // 503 with Retry-After
	halfUp     // every other try fails
	frozen     // no answer
	conditions
)

// trouble is how what stands beside the endpoint is.
type trouble int

const (
	fine trouble = iota
	failing
	hanging
	slow
	unsure // done, and told that it is not
	troubles
)

// member is a member of the consumer group.
type member struct {
	w       *world
	d       *Dispatcher
	cancel  context.CancelFunc
	idle    chan struct{}
	grace   time.Duration
	crashed bool

	position map[int32]position
	known    map[*Record]*record
	live     []*Record // of these, what was not seen finished by a check
	trying   map[*Record]pieces
	writing  map[*Record]pieces // letters
	written  map[*Record]pieces
	told     map[*Record]bool // finished
	leftOver map[*Record]bool // of these, left to others: tries under way may go on
	ordered  map[int32]bool   // partitions that are being tried
	calls    int
	fetching bool
	failures int // since something went through, or the endpoint changed
}

type position struct {
	generation int
	next       int64
	read       bool // a record of that generation was
}

func (w *world) violate(format string, args ...any) {
	w.violations = append(w.violations, fmt.Sprintf(format, args...))
}

func (w *world) join() *member {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := &member{
		w: w, idle: make(chan struct{}), grace: time.Duration(w.rng.IntN(3)) * time.Second, position: map[int32]position{}, known: map[*Record]*record{},
		trying: map[*Record]pieces{}, writing: map[*Record]pieces{}, written: map[*Record]pieces{}, told: map[*Record]bool{}, leftOver: map[*Record]bool{},
		ordered: map[int32]bool{},
	}
	cfg := w.config
	cfg.Read, cfg.Handle, cfg.SetAside, cfg.Finished = m.read, m.handle, m.setAside, m.finished
	if w.refetch {
		cfg.Fetch = m.fetch
	}
	m.d = New(cfg)
	for s, size := range w.buffers {
		m.d.buffers[s].max = size
	}
	m.d.large = w.putOff
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	go func() { defer close(m.idle); m.d.Run(ctx, m.grace) }()
	w.members = append(w.members, m)
	return m
}

func (m *member) read(r *Record) error {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	l := m.w.topic[r.TopicPartition.Partition]
	rec := l.records[r.TopicPartition.Offset]
	m.known[r] = rec
	m.live = append(m.live, r)
	r.Pieces = rec.pieces
	switch {
	case rec.null:
		rec.skipped = true
		return ErrSkip
	case rec.garbage:
		return Permanent(errors.New("no batch"))
	}
	return nil
}

// wait blocks for a while, until ctx ends, or until the endpoint changes if it is
// frozen. It is called with the lock, and leaves it meanwhile.
func (w *world) wait(ctx context.Context, d time.Duration, changed <-chan struct{}) error {
	w.mu.Unlock()
	defer w.mu.Lock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errCrashed = errors.New("crashed")

func (m *member) handle(ctx context.Context, parts []Part) error {
	w := m.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if m.crashed || ctx.Err() != nil {
		return errCrashed
	}
	m.calls++
	defer func() { m.calls-- }()
	if w.config.Ordered {
		id := parts[0].partition.id
		if m.ordered[id] {
			w.violate("partition %d is tried twice at once: %v", id, m.known[parts[0].Record])
		}
		m.ordered[id] = true
		defer func() { m.ordered[id] = false }()
		if slices.ContainsFunc(parts, func(p Part) bool { return p.partition != parts[0].partition }) {
			w.violate("tried with those of other partitions: %v", m.known[parts[0].Record])
		}
	}
	for _, p := range parts {
		rec, mask := m.known[p.Record], span(p.From, p.To)
		if !slices.Equal(p.Value, rec.value) || len(p.Value) == 0 {
			w.violate("tried with the value %.9q: %v", p.Value, rec)
		}
		if m.trying[p.Record]&mask != 0 || m.writing[p.Record]&mask != 0 {
			w.violate("pieces %b are tried twice at once, or while they are set aside: %v", mask, rec)
		}
		if m.told[p.Record] && !m.leftOver[p.Record] {
			w.violate("tried after it was finished: %v", rec)
		}
		if most := w.config.MaxRecords; most > 0 && len(parts) > most {
			w.violate("tried with %d others: %v", len(parts)-1, rec)
		}
		m.trying[p.Record] |= mask
		defer func() { m.trying[p.Record] &^= mask }()
	}
	err := m.try(ctx, parts)
	if m.crashed {
		return errCrashed
	}
	if m.failures++; err == nil {
		m.failures = 0
	}
	if w.trace != nil {
		for _, p := range parts {
			w.trace("try %d/%d pieces %d-%d of %d: %v", p.TopicPartition.Partition, p.TopicPartition.Offset, p.From, p.To, p.Pieces, err)
		}
	}
	return err
}

func (m *member) try(ctx context.Context, parts []Part) error {
	w := m.w
	latency := time.Millisecond + time.Duration(w.rng.IntN(15))*time.Millisecond
	state := w.endpoint
	if state == halfUp {
		if state = up; w.rng.IntN(2) == 0 {
			state = refusing
		}
	}
	if state == frozen {
		if err := w.wait(ctx, postTimeout, w.changed); err != nil {
			return err
		}
		if state = w.endpoint; state == frozen {
			return context.DeadlineExceeded
		}
	}
	if state == up {
		for _, p := range parts {
			latency = max(latency, m.known[p.Record].slow)
		}
	}
	if err := w.wait(ctx, latency, nil); err != nil {
		return err
	}
	switch state {
	case unreachable:
		return Unreachable(errors.New("connection refused"))
	case refusing, halfUp:
		return errors.New("503")
	case overloaded:
		return RetryAfter(errors.New("503"), time.Duration(w.rng.IntN(3000))*time.Millisecond)
	case frozen:
		return context.DeadlineExceeded
	}
	refused, refusedInPart, lost := false, false, false
	var with answer
	inPart := w.config.Ordered && w.rng.IntN(2) == 0 // it takes those before the first one that it refuses
	for _, p := range parts {
		rec := m.known[p.Record]
		if rec.bad&span(p.From, p.To) != 0 && rec.answer == partial {
			refusedInPart = true
		} else if rec.bad&span(p.From, p.To) != 0 {
			with, refused = rec.answer, true
		} else if rec.refusals > 0 {
			rec.refusals--
			with, refused = rec.answer, true
		} else if rec.lost > 0 {
			rec.lost--
			lost = true
		}
		if inPart && !refused && !refusedInPart && !m.crashed {
			m.deliver(p)
		}
	}
	if refused {
		if with == hang {
			if err := w.wait(ctx, postTimeout, nil); err != nil {
				return err
			}
		}
		return with.err()
	}
	if m.crashed {
		return errCrashed // what it sent and did not hear of is as good as sent again
	}
	for _, p := range parts {
		m.deliver(p)
	}
	if refusedInPart {
		return Partial(errors.New("some spans are refused"))
	}
	if lost {
		return errors.New("EOF")
	}
	return nil
}

func (m *member) deliver(p Part) {
	w, rec := m.w, m.known[p.Record]
	if w.config.Ordered && rec.delivered == 0 {
		for _, before := range w.topic[rec.partition].records {
			if before == nil || before.generation != rec.generation {
				continue
			}
			if before.offset >= rec.offset {
				break
			}
			if before.good() && !before.gone && before.delivered == 0 && before.aside == 0 {
				w.violate("delivered before %v: %v", before, rec)
			}
		}
	}
	rec.delivered |= span(p.From, p.To)
}

func (m *member) setAside(ctx context.Context, p Part, reason error) error {
	w := m.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if m.crashed {
		return errCrashed
	}
	rec, mask := m.known[p.Record], span(p.From, p.To)
	if (m.trying[p.Record]|m.written[p.Record])&mask != 0 {
		w.violate("pieces %b set aside while they are tried, or again: %v", mask, rec)
	}
	m.writing[p.Record] |= mask
	err := m.write(ctx, p, rec, reason)
	if err == nil {
		m.written[p.Record] |= mask
	}
	if err == nil || ctx.Err() != nil {
		m.writing[p.Record] &^= mask
	}
	return err
}

func (m *member) write(ctx context.Context, p Part, rec *record, reason error) (err error) {
	w, is := m.w, m.w.letters
	switch is {
	case failing:
		err = errors.New("no such topic")
	case hanging:
		if err = w.wait(ctx, 30*time.Second, nil); err == nil {
			err = context.DeadlineExceeded
		}
	case slow:
		err = w.wait(ctx, time.Second, nil)
	default:
		err = w.wait(ctx, 5*time.Millisecond, nil)
	}
	if m.crashed {
		return errCrashed
	}
	if err != nil {
		return err
	}
	expired := rec.gone || rec.generation != w.topic[rec.partition].generation
	if p.Value == nil && !expired || p.Value != nil && !slices.Equal(p.Value, rec.value) {
		w.violate("set aside with the value %.9q: %v", p.Value, rec)
	}
	mask := span(p.From, p.To)
	wrong := mask &^ rec.bad
	if verdictOf(reason).partial {
		wrong &^= rec.delivered
	}
	if wrong != 0 && !rec.garbage && !(expired && errors.Is(reason, ErrGone)) {
		if w.fair {
			w.violate("good pieces %b set aside, %v: %v", wrong, reason, rec)
		}
		w.unlucky += bits.OnesCount32(uint32(wrong))
	}
	rec.aside |= mask
	if w.trace != nil {
		w.trace("set aside %d/%d pieces %d-%d of %d: %v", p.TopicPartition.Partition, p.TopicPartition.Offset, p.From, p.To, p.Pieces, reason)
	}
	if is == unsure {
		return errors.New("timed out")
	}
	return nil
}

func (m *member) fetch(ctx context.Context, partition int32, offsets []int64) (map[int64]*kafka.Message, error) {
	w := m.w
	w.mu.Lock()
	defer w.mu.Unlock()
	m.fetching = true
	if !slices.IsSorted(offsets) || len(offsets) == 0 {
		w.violate("fetch of %d", offsets)
	}
	latency := 10 * time.Millisecond
	switch w.fetches {
	case hanging:
		latency = 30 * time.Second
	case slow:
		latency = time.Second
	}
	if err := w.wait(ctx, latency, nil); err != nil {
		return nil, err
	}
	if w.fetches == failing || w.fetches == hanging {
		return nil, errors.New("broker away")
	}
	l := w.topic[partition]
	messages := make(map[int64]*kafka.Message)
	for _, offset := range offsets {
		if offset >= l.low && offset < l.end() && l.records[offset] != nil {
			messages[offset] = l.records[offset].message()
		}
	}
	m.fetching = false
	return messages, nil
}

func (m *member) finished(r *Record, err error) {
	w := m.w
	w.mu.Lock()
	defer w.mu.Unlock()
	rec := m.known[r]
	if m.told[r] {
		w.violate("told twice that it is finished, now with %v: %v", err, rec)
	}
	m.told[r], m.leftOver[r] = true, errors.Is(err, ErrForgotten)
	if w.trace != nil {
		w.trace("finished %d/%d: %v", rec.partition, rec.offset, err)
	}
	switch {
	case m.crashed:
	case errors.Is(err, ErrForgotten):
	case !rec.done():
		w.violate("told that it is finished with %v: %v", err, rec)
	case err == nil && rec.delivered == 0:
		w.violate("told that it is delivered: %v", rec)
	}
}

// poll reads some records of what is assigned.
func (m *member) poll(n int) {
	w := m.w
	for id := range int32(len(w.topic)) {
		at, assigned := m.position[id]
		if !assigned {
			continue
		}
		l := w.topic[id]
		if at.generation != l.generation { // the client is told that its position is not there
			at = position{generation: l.generation}
		}
		at.next = max(at.next, l.low)
		for range n {
			if at.next >= l.end() {
				m.d.Skip(id, at.next)
				break
			}
			if m.d.Full() && !m.d.AwaitRoom(20*time.Millisecond) {
				break
			}
			rec := l.records[at.next]
			at.next++
			if rec != nil {
				at.read = true
				m.d.Add(rec.message())
			}
		}
		m.position[id] = at
	}
}

// commit commits what is finished.
func (m *member) commit() {
	w := m.w
	moved, _ := m.d.Moved()
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, next := range moved {
		l, at := w.topic[id], m.position[id]
		if at.generation != l.generation || !at.read {
			continue // committed of the topic that was deleted
		}
		if next > l.end() {
			w.violate("committed %d of partition %d, which ends at %d", next, id, l.end())
			continue
		}
		if l.of == l.generation && next < l.committed {
			w.violate("commit of partition %d went back from %d to %d", id, l.committed, next)
		}
		for _, rec := range l.records[l.low:max(next, l.low)] {
			if rec != nil && !rec.done() {
				w.violate("committed %d before it was done: %v", next, rec)
			}
		}
		l.committed, l.of = next, l.generation
		if w.trace != nil {
			w.trace("commit %d/%d", id, next)
		}
	}
}

func (m *member) assign(id int32) {
	l := m.w.topic[id]
	at := position{generation: l.generation, next: l.low}
	m.d.Assign([]int32{id})
	if l.committed >= 0 && l.of == l.generation {
		m.d.Start(id, l.committed)
		at.next = l.committed
		at.read = true
	}
	m.position[id] = at
}

func (m *member) revoke(ids []int32, lost bool) {
	if !lost {
		m.d.Drain(ids, time.Second)
		m.commit()
	}
	m.d.Forget(ids)
	for _, id := range ids {
		delete(m.position, id)
	}
	w := m.w
	w.mu.Lock()
	defer w.mu.Unlock()
	m.failures = 0 // with what it has now, it has to learn anew how the endpoint is
}

func (m *member) owned() (ids []int32) {
	for id := range int32(len(m.w.topic)) {
		if _, ok := m.position[id]; ok {
			ids = append(ids, id)
		}
	}
	return ids
}

// leave ends a member, gracefully or not, and returns what it had.
func (m *member) leave(crash bool) []int32 {
	w := m.w
	if crash {
		w.mu.Lock()
		m.crashed = true
		w.mu.Unlock()
	}
	m.cancel()
	<-m.idle
	if !crash {
		m.commit()
	}
	w.members = slices.DeleteFunc(w.members, func(other *member) bool { return other == m })
	return m.owned()
}

// become changes how the endpoint is.
func (w *world) become(c condition) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.endpoint, w.since = c, time.Now()
	for _, m := range w.members {
		m.failures = 0
	}
	close(w.changed)
	w.changed = make(chan struct{})
	if w.trace != nil {
		w.trace("endpoint becomes %d", c)
	}
}
