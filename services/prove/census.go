package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"fault-tolerant-tracing/services/internal/jaeger"
	"fault-tolerant-tracing/services/internal/verdict"
)

// tracesAtATime is how many Jaeger is asked for in one request.
const tracesAtATime = 100

// census knows which spans of the clients have ended, and which of these are in Jaeger.
type census struct {
	dir   string // of the ledgers
	query *jaeger.Query
	lives map[string]*life
}

// missing returns those of the spans that ended between two times and are not in Jaeger, without those that a kill of the client has
// taken along. It asks for what it has not seen there before.
func (c *census) missing(ctx context.Context, from, to time.Time) ([]clientSpan, error) {
	if err := c.read(); err != nil {
		return nil, err
	}
	traces := map[string]bool{}
	absent := func(do func(clientSpan)) {
		for name, l := range c.lives {
			l.each(func(number int64, ended time.Time, before time.Duration) {
				livedOn := ended.Add(before).After(to)
				if !l.came[number] && !ended.Before(from) && !ended.After(to) && (livedOn || !l.takenAlong(before)) {
					do(clientSpan{name, number})
				}
			})
		}
	}
	absent(func(s clientSpan) { traces[s.trace()] = true })
	if err := c.ask(ctx, traces); err != nil {
		return nil, err
	}
	var spans []clientSpan
	absent(func(s clientSpan) { spans = append(spans, s) })
	return spans, nil
}

// trace is the id of the trace that a span is in.
func (s clientSpan) trace() string {
	return traceID(s.life, uint64(s.number-1)/spansOfTrace+1).String()
}

// read reads the ledgers anew.
func (c *census) read() error {
	lives, err := readLedgers(c.dir)
	if err != nil {
		return fmt.Errorf("read the ledgers: %w", err)
	}
	for name, l := range lives {
		if known := c.lives[name]; known != nil {
			copy(l.came, known.came)
		}
	}
	c.lives = lives
	return nil
}

// ask asks Jaeger for traces.
func (c *census) ask(ctx context.Context, traces map[string]bool) error {
	for some := range slices.Chunk(slices.Collect(maps.Keys(traces)), tracesAtATime) {
		found, err := c.query.TracesByID(ctx, some)
		if err != nil {
			return err
		}
		for _, t := range found {
			for _, s := range verdict.FromJaeger(&t) {
				came(c.lives, s)
			}
		}
	}
	return nil
}

// waiting returns the spans on tracing-topic that a group has not yet done.
func waiting(ctx context.Context, admin *kadm.Client, brokers []string, group string) (map[clientSpan]bool, error) {
	committed, err := admin.FetchOffsets(ctx, group)
	if err == nil {
		err = committed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("the offsets of %s: %w", group, err)
	}
	spans := map[clientSpan]bool{}
	err = verdict.Scan(ctx, brokers, func(r *kgo.Record) error {
		if done, ok := committed.Lookup(r.Topic, r.Partition); ok && r.Offset < done.At {
			return nil
		}
		some, _ := verdict.FromTopic(r.Value) // what holds none is nobody's
		for _, s := range some {
			spans[clientSpanOf(s)] = true
		}
		return nil
	}, tracingTopic)
	return spans, err
}

// tally is what has become of the spans that ended in a phase.
type tally struct {
	Spans   int `json:"spans"`   // that ended, without those not sent
	Lost    int `json:"lost"`    // of these: neither in Jaeger nor waiting
	Waiting int `json:"waiting"` // of these: on tracing-topic still, and nothing came any more
	NotSent int `json:"not_sent"`
}

func (t *tally) add(other tally) {
	t.Spans += other.Spans
	t.Lost += other.Lost
	t.Waiting += other.Waiting
	t.NotSent += other.NotSent
}

// count counts the spans of each phase, of which some wait on tracing-topic.
func (c *census) count(phases int, phaseAt func(time.Time) int, waits map[clientSpan]bool) []tally {
	counted := make([]tally, phases)
	for name, l := range c.lives {
		l.each(func(number int64, ended time.Time, before time.Duration) {
			t := &counted[phaseAt(ended)]
			switch came := l.came[number]; {
			case !came && waits[clientSpan{name, number}]:
				t.Waiting++
			case !came && l.takenAlong(before):
				t.NotSent++
				return
			case !came:
				t.Lost++
			}
			t.Spans++
		})
	}
	return counted
}
