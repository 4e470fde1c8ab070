package verdict

import (
	"cmp"
	"context"
	"errors"
	"hash/maphash"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"
	"unique"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"fault-tolerant-tracing/services/internal/jaeger"
)

// tracingTopic is where the spans lie, unless they are sent straight to Jaeger: then it is empty. What Jaeger cannot take lies on
// deadTopic instead.
const (
	tracingTopic = "tracing-topic"
	deadTopic    = "tracing-dlq"
)

// What is asked of Jaeger.
const (
	tracesAtATime = 100 // in one request
	askingAtATime = 4
)

// Checker judges what came of all numbers on number-topic, and goes on where it stopped: it reads what has come to the topics since,
// and asks Jaeger for the traces that are open. A trace is open until Jaeger has all its spans on tracing-topic, and the whole chain
// of its number; more spans on tracing-topic open it again. What Jaeger forgets later, and the copies of a span that it gets later
// straight from a service, only a new Checker sees.
//
// What it keeps grows with the data: by reckoning 500 bytes for a number that is open and 30 from then on, 100 and 20 for a span on
// tracing-topic. Where that may be too much, have it judge one [Share] after the other.
//
// It is not safe for several goroutines.
type Checker struct {
	// Progress, if it is set, is called while Check works, never twice at a time: with the numbers that are whole in Jaeger, all numbers, and how many records
	// were read and traces asked for so far, each once. So the same again means that nothing has happened.
	Progress func(whole, numbers, steps int)

	// Share is what is judged, and Most, unless it is 0, how many bytes of it may be kept, by that reckoning: if it is more, Check
	// returns [ErrFull]. They are to be set before the first Check.
	Share Share
	Most  int

	// Phase, if it is set, tells in which part of a run something was written, from 0 on: the Result then counts each part by itself.
	Phase func(written time.Time) int

	query          *jaeger.Query
	tracing        []string // brokers
	numbers        *Numbers
	spans, letters *reader
	fed, steps     int

	open   []*Number // in the order in which they were met
	traces []*trace  // the same
	byID   map[string]*trace
	ready  []*trace         // of which all that a number must produce is on tracing-topic
	whole  map[uint64]int64 // numbers that are open no more, by the digests of their traces

	seen            map[uint64]int  // the phases of the spans on tracing-topic, by their digests
	repeated, aside map[uint64]bool // digests of the spans that are there or in Jaeger more than once, of those on tracing-dlq
	lives           lives           // of random
	strange         []strange
	dead            map[origin]bool  // records on tracing-dlq
	changed         map[spanKey]Span // spans that are in Jaeger otherwise than on tracing-topic, and are not told yet

	settled Result // without what is open
}

// trace is one that is open.
type trace struct {
	id      string
	numbers []*Number // mostly one
	written []written // its spans on tracing-topic that were not found in Jaeger
	changed []written // those that were found there with another field
	known   bool      // Jaeger was asked for it
	asked   bool      // with all that is known now, and in this call
}

// written is a span on tracing-topic.
type written struct {
	id     string
	step   unique.Handle[step]
	digest uint64
	phase  int
}

// span returns it as far as it is known.
func (t *trace) span(w written) Span {
	return Span{TraceID: t.id, ID: w.id, Service: w.step.Value().service, Operation: w.step.Value().operation}
}

// strange is a record of tracing-topic without spans.
type strange struct {
	origin
	reason error
	phase  int
}

// origin is where a record was read, as the headers of a letter say it.
type origin struct{ partition, offset string }

// What a letter must say to count: why it was set aside, and which record it was.
const (
	headerReason    = "dlq.reason"
	headerPartition = "dlq.partition"
	headerOffset    = "dlq.offset"
)

// New returns a Checker for the numbers at brokers (bootstrap addresses, host and port), whose spans lie at those of tracing, mostly
// the same, on their way to the Jaeger of query.
func New(brokers, tracing []string, query *jaeger.Query) *Checker {
	return &Checker{
		query: query, tracing: tracing,
		numbers: Follow(brokers), spans: newReader(tracing, tracingTopic), letters: newReader(tracing, deadTopic),
		byID: map[string]*trace{}, whole: map[uint64]int64{}, seen: map[uint64]int{}, repeated: map[uint64]bool{}, aside: map[uint64]bool{},
		lives: lives{}, dead: map[origin]bool{}, changed: map[spanKey]Span{},
	}
}

// Check judges the topics and Jaeger as they are now, and waits for nothing more: call it again while spans are still on their way.
// It blocks until all that is new is read and Jaeger was asked for each open trace, or ctx ends. It may be called again after an error.
// If a topic was made anew, it begins from the beginning.
func (c *Checker) Check(ctx context.Context) (Result, error) {
	err := c.check(ctx)
	if errors.Is(err, errAnew) {
		before := *c
		*c = *New(c.numbers.topics.brokers, c.tracing, c.query)
		c.Progress, c.Share, c.Most, c.Phase = before.Progress, before.Share, before.Most, before.Phase
		err = c.check(ctx)
	}
	if err != nil {
		return Result{}, err
	}
	return c.result(), nil
}

func (c *Checker) check(ctx context.Context) error {
	for _, r := range []*reader{c.numbers.topics, c.spans, c.letters} {
		r.polled = func(records int) error {
			c.step(records)
			return c.room()
		}
	}
	c.numbers.share = c.Share
	for _, t := range c.traces {
		t.asked = false
	}
	err := c.numbers.Read(ctx)
	c.follow()
	if err != nil {
		return err
	}
	if err := c.letters.read(ctx, c.letter); err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
		return err
	}
	err = c.spans.read(ctx, func(r *kgo.Record) error {
		c.record(r)
		if len(c.ready) < tracesAtATime*askingAtATime {
			return nil
		}
		return c.ask(ctx)
	})
	if err != nil {
		return err
	}
	c.ready = c.traces
	if err := c.ask(ctx); err != nil {
		return err
	}
	c.tidy()
	if err := c.again(ctx); err != nil {
		return err
	}
	return c.explain(ctx)
}

// tidy leaves out what is open no more.
func (c *Checker) tidy() {
	c.open = slices.DeleteFunc(c.open, func(n *Number) bool { return n.settled })
	c.traces = slices.DeleteFunc(c.traces, func(t *trace) bool { return c.byID[t.id] != t })
}

// step tells of the progress.
func (c *Checker) step(steps int) {
	c.steps += steps
	if c.Progress != nil {
		c.Progress(c.settled.Traces, c.fed, c.steps)
	}
}

// follow takes in what was read of the numbers.
func (c *Checker) follow() {
	c.fed += len(c.numbers.Fed)
	c.open, c.numbers.Fed = append(c.open, c.numbers.Fed...), nil
	for _, n := range c.open {
		if n.trace == nil && n.TraceID != "" {
			n.trace = c.trace(n.TraceID)
			n.trace.numbers = append(n.trace.numbers, n)
		}
	}
}

// trace returns the open trace with an id.
func (c *Checker) trace(id string) *trace {
	t := c.byID[id]
	if t == nil {
		t = &trace{id: id}
		c.byID[id], c.traces = t, append(c.traces, t)
		if value, ok := c.whole[digest(id)]; ok {
			c.settled.whole(value, -1)
			delete(c.whole, digest(id))
			n := &Number{Value: value, TraceID: id, Arrived: true, trace: t}
			c.open, t.numbers = append(c.open, n), append(t.numbers, n)
		}
	}
	t.asked = false
	return t
}

// record takes in one of tracing-topic.
func (c *Checker) record(r *kgo.Record) {
	if len(r.Value) == 0 {
		return // there is nothing in it to be delivered
	}
	phase := c.phase(r.Timestamp)
	spans, err := FromTopic(r.Value)
	at := origin{strconv.Itoa(int(r.Partition)), strconv.FormatInt(r.Offset, 10)}
	if err != nil && c.Share.has(digest(at)) {
		c.strange = append(c.strange, strange{at, err, phase})
		c.settled.phase(phase).Sent++
	}
	for _, s := range spans {
		c.span(s, phase)
	}
}

// phase is that in which something was written.
func (c *Checker) phase(at time.Time) int {
	if c.Phase == nil {
		return 0
	}
	return c.Phase(at)
}

func (c *Checker) span(s Span, phase int) {
	if s.Service == restService {
		c.lives.add(s)
	}
	own := c.owns(s.TraceID)
	if !own && !c.ofNumber(s.TraceID) {
		return
	}
	key := digest(s.key())
	if _, again := c.seen[key]; again {
		if own {
			c.repeated[key] = true
		}
		return
	}
	c.seen[key] = phase
	if own {
		c.settled.TopicSpans++
		c.settled.phase(phase).Sent++
	}
	t := c.trace(s.TraceID)
	t.written = append(t.written, written{s.ID, unique.Make(s.step()), s.digest(), phase})
	if len(t.numbers) == 1 && t.numbers[0].Arrived && len(t.written) == len(links(t.numbers[0].Value)) {
		c.ready = append(c.ready, t)
	}
}

// letter takes in a record of tracing-dlq.
func (c *Checker) letter(r *kgo.Record) error {
	headers := map[string]string{}
	for _, h := range r.Headers {
		headers[h.Key] = string(h.Value)
	}
	if headers[headerReason] == "" {
		return nil
	}
	if at := (origin{headers[headerPartition], headers[headerOffset]}); c.Share.has(digest(at)) {
		c.dead[at] = true
	}
	spans, _ := FromTopic(r.Value)
	for _, s := range spans {
		if c.owns(s.TraceID) || c.ofNumber(s.TraceID) {
			c.aside[digest(s.key())] = true
		}
	}
	return nil
}

// ask asks Jaeger for those of the traces that are ready for which it was not asked yet.
func (c *Checker) ask(ctx context.Context) error {
	traces := slices.DeleteFunc(slices.Clone(c.ready), func(t *trace) bool { return t.asked || c.byID[t.id] != t })
	c.ready = nil
	asking, ctx := errgroup.WithContext(ctx)
	asking.SetLimit(askingAtATime)
	var mu sync.Mutex
	for some := range slices.Chunk(traces, tracesAtATime) {
		asking.Go(func() error {
			var ids []string
			for _, t := range some {
				ids = append(ids, cmp.Or(t.id, "0")) // where Jaeger keeps spans without an id of a trace
			}
			answer, err := c.query.TracesByID(ctx, ids)
			if err != nil {
				return err
			}
			found := map[string][]Span{}
			for _, t := range answer {
				found[plainID(t.TraceID)] = FromJaeger(&t)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, t := range some {
				c.compare(t, found[t.id])
			}
			c.step(0)
			return nil
		})
	}
	return asking.Wait()
}

// compare compares a trace with what Jaeger has of it, duplicates included.
func (c *Checker) compare(t *trace, inJaeger []Span) {
	if !t.known {
		c.steps++
	}
	t.known, t.asked = true, true
	own, found := c.owns(t.id), map[string]Span{}
	asWritten := map[uint64]bool{}
	for _, s := range inJaeger {
		asWritten[s.digest()] = true
		if _, twice := found[s.ID]; twice {
			if own {
				c.repeated[digest(s.key())] = true
			}
			continue
		}
		found[s.ID] = s
	}
	t.written = slices.DeleteFunc(t.written, func(w written) bool {
		s, ok := found[w.id]
		as := ok && asWritten[w.digest]
		if ok && !as {
			t.changed = append(t.changed, w)
		}
		switch {
		case !own:
		case as:
			c.settled.phase(w.phase).Found++
		case ok:
			c.settled.TopicDiffer++
			c.settled.phase(w.phase).Changed++
			if len(c.changed) < maxProblems {
				c.changed[s.key()] = s
			}
		}
		return ok
	})
	spans := slices.SortedFunc(maps.Values(found), func(a, b Span) int { return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.ID, b.ID)) })
	for _, n := range t.numbers {
		n.finding = find(n.Value, spans)
	}
	if len(t.written) > 0 || slices.ContainsFunc(t.numbers, func(n *Number) bool { return !n.Arrived || !n.finding.whole() }) {
		return
	}
	delete(c.byID, t.id)
	for _, n := range t.numbers {
		n.settled = true
		c.whole[digest(t.id)] = n.Value
		c.settled.whole(n.Value, 1)
		if len(spans) > c.settled.longest {
			c.settled.Example, c.settled.longest = t.id, len(spans)
		}
	}
}

// again looks at what stream did twice: killed before its spans were safe, it does a number again, in a trace of its own. Of a number's
// traces one has to hold the whole chain. It counts as that of the number, if the other one lacks nothing but what stream had not sent.
func (c *Checker) again(ctx context.Context) error {
	for _, n := range c.open {
		others := c.numbers.others(n.Value)
		if n.finding == nil || len(others) == 0 {
			continue
		}
		lost := slices.DeleteFunc(slices.Clone(n.finding.missing), func(s step) bool { return c.excused(n, s) })
		if len(lost) == 0 || slices.ContainsFunc(lost, func(s step) bool { return s.service != streamService }) {
			continue
		}
		for i, other := range others {
			if other.trace == "" {
				continue
			}
			answer, err := c.query.TracesByID(ctx, []string{other.trace})
			if err != nil {
				return err
			}
			if len(answer) == 0 {
				continue
			}
			f := find(n.Value, distinct(FromJaeger(&answer[0])))
			if !f.chain && (len(f.missing) == 0 || slices.ContainsFunc(f.missing, func(s step) bool { return !c.excused(n, s) })) {
				continue
			}
			n.trace.numbers = slices.DeleteFunc(n.trace.numbers, func(of *Number) bool { return of == n })
			others[i].trace, n.TraceID = n.TraceID, other.trace
			n.trace, n.finding = c.trace(n.TraceID), f
			n.trace.numbers = append(n.trace.numbers, n)
			n.seen(other.at)
			break
		}
	}
	return nil
}

// distinct leaves out what is there more than once.
func distinct(spans []Span) []Span {
	seen := map[string]bool{}
	return slices.DeleteFunc(spans, func(s Span) bool {
		twice := seen[s.ID]
		seen[s.ID] = true
		return twice
	})
}

// excused tells whether a process may have had a span that a number lacks, and was killed before it had sent it.
func (c *Checker) excused(n *Number, s step) bool {
	return s.service == restService && c.lives.changed(n.First, n.Last)
}

// explain reads once more what was written of the spans that have changed, and tells in what.
func (c *Checker) explain(ctx context.Context) error {
	if len(c.changed) == 0 {
		return nil
	}
	err := Scan(ctx, c.tracing, func(r *kgo.Record) error {
		spans, _ := FromTopic(r.Value)
		for _, s := range spans {
			if changed, ok := c.changed[s.key()]; ok {
				delete(c.changed, s.key())
				for _, d := range Differences(s, changed) {
					c.settled.problem("%s: %s", s, d)
				}
			}
		}
		return nil
	}, tracingTopic)
	if err != nil {
		return err
	}
	for _, s := range c.changed {
		c.settled.problem("%s has changed, and what was written is on tracing-topic no more", s)
	}
	clear(c.changed)
	return nil
}

// result adds what is open to what is not.
func (c *Checker) result() Result {
	r := c.settled
	r.Problems, r.Phases = slices.Clone(r.Problems), slices.Clone(r.Phases)
	r.Duplicated, r.part = len(c.repeated), c.Share != Share{}
	for key := range c.repeated {
		r.phase(c.seen[key]).Duplicated++
	}
	for _, t := range c.traces {
		if !c.owns(t.id) {
			continue
		}
		for _, w := range t.written {
			s := t.span(w)
			r.absent(w.phase, c.aside[digest(s.key())], "%s is on tracing-topic and not in Jaeger", s)
		}
	}
	for _, s := range c.strange {
		r.absent(s.phase, c.dead[s.origin], "record at partition %s, offset %s of tracing-topic: %v", s.partition, s.offset, s.reason)
	}
	for _, n := range c.open {
		phase := c.phase(n.First)
		for _, s := range r.number(n) {
			c.gone(&r, n, s, phase)
		}
	}
	return r
}

// gone counts a span that a number lacks: it lies on tracing-topic, whose phase knows what became of it, or never came there.
func (c *Checker) gone(r *Result, n *Number, s step, phase int) {
	if n.trace != nil {
		for _, w := range slices.Concat(n.trace.written, n.trace.changed) {
			if w.step.Value() != s {
				continue
			}
			if !c.aside[digest(n.trace.span(w).key())] {
				r.Lost++
			}
			return
		}
	}
	r.Lost++
	if c.excused(n, s) {
		r.NotSent++
		r.phase(phase).NotSent++
		return
	}
	r.phase(phase).Lost++
}

var seed = maphash.MakeSeed()

// digest tells values apart, for as long as the program runs.
func digest[T comparable](of T) uint64 { return maphash.Comparable(seed, of) }
