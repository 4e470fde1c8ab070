package verdict

import (
	"context"
	"errors"
	"hash/maphash"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"fault-tolerant-tracing/services/internal/jaeger"
)

// What CheckAll holds at a time: some 5 MB each. A span takes about 1 kB, and 400 bytes of a record; a number 250 bytes, a span that
// is remembered 40.
const (
	bytesPerWindow = 2 << 20 // of records of tracing-topic
	numbersPerPass = 20_000
	spansInMemory  = 100_000 // in two halves
)

// CheckAll is [Check] of every number on number-topic, in memory that does not grow with the data: it reads tracing-topic in windows,
// and the topics of the numbers once for every 20 000 of them. A span that lies on tracing-topic twice counts as duplicated only if
// less than 50 000 others lie between.
func CheckAll(ctx context.Context, brokers []string, query *jaeger.Query) (Result, error) {
	c := check{brokers: brokers, query: query, bytesPerWindow: bytesPerWindow, numbersPerPass: numbersPerPass}
	return c.run(ctx)
}

// check is one run of CheckAll.
type check struct {
	brokers                        []string
	query                          *jaeger.Query
	bytesPerWindow, numbersPerPass int

	result Result
	seen   memory
}

func (c *check) run(ctx context.Context) (Result, error) {
	c.result, c.seen = newResult(), newMemory()
	if err := c.topic(ctx); err != nil {
		return Result{}, err
	}
	if err := c.numbers(ctx); err != nil {
		return Result{}, err
	}
	return c.result, nil
}

// topic compares what lies on tracing-topic with what Jaeger has, one window after the other.
func (c *check) topic(ctx context.Context) error {
	var w window
	err := Scan(ctx, c.brokers, func(r *kgo.Record) error {
		spans, strange := FromTopic([]*kgo.Record{r})
		for _, s := range spans {
			c.result.lives.add(s)
			if c.seen.add(s.key()) {
				w.spans = append(w.spans, s)
			} else {
				c.result.Duplicated++
			}
		}
		for _, s := range strange {
			s.Record = &kgo.Record{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset} // without its value
			w.strange = append(w.strange, s)
		}
		if w.bytes += len(r.Value); w.bytes < c.bytesPerWindow {
			return nil
		}
		full := w
		w = window{}
		return c.judge(ctx, full)
	}, tracingTopic)
	if err != nil {
		return err
	}
	return c.judge(ctx, w)
}

// window is a part of tracing-topic.
type window struct {
	spans   []Span
	strange []Strange
	bytes   int
}

func (c *check) judge(ctx context.Context, w window) error {
	c.result.TopicSpans += len(w.spans)
	traces := map[string][]Span{}
	for _, s := range w.spans {
		traces[s.TraceID] = append(traces[s.TraceID], s)
	}
	absent := map[spanKey]bool{}
	for id, spans := range traces {
		found, err := c.trace(ctx, id)
		if err != nil {
			return err
		}
		for _, s := range spans {
			if _, ok := found.index[s.key()]; ok {
				c.result.topicSpan(s, found, set{})
			} else {
				absent[s.key()] = true
			}
		}
	}
	if len(absent)+len(w.strange) == 0 {
		return nil
	}
	aside, dead, err := c.letters(ctx, absent, w.strange)
	if err != nil {
		return err
	}
	for _, s := range w.spans {
		if absent[s.key()] {
			c.result.topicSpan(s, set{}, aside)
		}
	}
	for _, s := range w.strange {
		c.result.strange(s, dead)
	}
	return nil
}

// letters returns those of the spans and records without spans that lie on tracing-dlq.
func (c *check) letters(ctx context.Context, absent map[spanKey]bool, strange []Strange) (aside set, dead map[origin]bool, err error) {
	wanted := map[origin]bool{}
	for _, s := range strange {
		wanted[s.origin()] = true
	}
	aside, dead = set{index: map[spanKey]int{}}, map[origin]bool{}
	err = Scan(ctx, c.brokers, func(r *kgo.Record) error {
		spans, _ := FromTopic([]*kgo.Record{r})
		for _, s := range spans {
			if absent[s.key()] {
				aside.index[s.key()] = 0
			}
		}
		if o := originOf(r); wanted[o] {
			dead[o] = true
		}
		return nil
	}, deadTopic)
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		err = nil
	}
	return aside, dead, err
}

// numbers compares the numbers with the traces that Jaeger has of them. Those of one pass have the same remainder.
func (c *check) numbers(ctx context.Context) error {
	records := 0
	err := Scan(ctx, c.brokers, func(*kgo.Record) error {
		records++
		return nil
	}, numberTopic)
	passes := uint64(1 + records/c.numbersPerPass)
	for pass := uint64(0); pass < passes && err == nil; pass++ {
		err = c.pass(ctx, func(n int64) bool { return uint64(n)%passes == pass })
	}
	return err
}

func (c *check) pass(ctx context.Context, mine func(int64) bool) error {
	var fed []int64
	err := Scan(ctx, c.brokers, func(r *kgo.Record) error {
		if n, ok := fedNumber(r); ok && mine(n) {
			fed = append(fed, n)
		}
		return nil
	}, numberTopic)
	if err != nil {
		return err
	}
	t := newTrails(fed)
	err = Scan(ctx, c.brokers, func(r *kgo.Record) error {
		t.add(r)
		return nil
	}, Topics()...)
	if err != nil {
		return err
	}
	for _, n := range t.numbers(fed) {
		trace, err := c.trace(ctx, n.TraceID)
		if err != nil {
			return err
		}
		c.result.Duplicated += len(trace.repeated)
		c.result.number(n, trace.spans)
	}
	return nil
}

// trace returns what Jaeger has of a trace; nothing for "".
func (c *check) trace(ctx context.Context, id string) (set, error) {
	if id == "" {
		return set{}, nil
	}
	trace, err := c.query.Trace(ctx, id)
	if errors.Is(err, jaeger.ErrNotFound) {
		return set{}, nil
	}
	if err != nil {
		return set{}, err
	}
	return distinct(FromJaeger(trace)), nil
}

// memory remembers at least the last spansInMemory/2 spans, by their hashes.
type memory struct {
	seed        maphash.Seed
	now, before map[uint64]bool
}

func newMemory() memory { return memory{seed: maphash.MakeSeed(), now: map[uint64]bool{}} }

// add reports that the span is new.
func (m *memory) add(key spanKey) bool {
	hash := maphash.Comparable(m.seed, key)
	if m.now[hash] || m.before[hash] {
		return false
	}
	if len(m.now) >= spansInMemory/2 {
		m.before, m.now = m.now, map[uint64]bool{}
	}
	m.now[hash] = true
	return true
}
