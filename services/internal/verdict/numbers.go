package verdict

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"fault-tolerant-tracing/services/internal/jaeger"
)

// The topics that numbers are followed through.
const (
	numberTopic = "number-topic"
	evenTopic   = "even-topic"
	oddTopic    = "odd-topic"
	answerTopic = "answer-topic"
)

// Number is one number that was fed, and what became of it.
type Number struct {
	Value   int64
	TraceID string // of the trace it was given, hex without leading zeros; "" when no record tells
	Arrived bool   // an even one has its answer on answer-topic, an odd one lies on odd-topic

	First, Last time.Time // when the first and the last record of it was written behind number-topic; zero when there is none

	passed bool // it has a record on even-topic or odd-topic

	trace   *trace   // what a [Checker] knows of it; nil: nothing
	finding *finding // in that trace; nil: Jaeger was not asked for it
	settled bool
}

// Numbers follows the numbers on number-topic (each record that is an integer of 64 bits, white space of ASCII around it) through the
// topics behind it. A number fed twice is two numbers. The trace of a number is in the header of its record on even-topic or
// odd-topic; records that nobody asked for are left out. It is not safe for several goroutines.
type Numbers struct {
	// Fed are the numbers that Read has found, in no particular order; the caller may take them out. Read goes on telling in them what
	// became of them.
	Fed []*Number

	topics *reader
	share  Share // numbers of another share are left out
	trails map[int64]*trail
}

// Follow returns the Numbers at brokers (bootstrap addresses, host and port), of which nothing is read yet.
func Follow(brokers []string) *Numbers {
	return &Numbers{topics: newReader(brokers, numberTopic, evenTopic, oddTopic, answerTopic), trails: map[int64]*trail{}}
}

// Read reads what has come to the topics since the last call. It blocks until that is done or ctx ends, and may be called again
// after an error.
func (f *Numbers) Read(ctx context.Context) error {
	return f.topics.read(ctx, func(r *kgo.Record) error {
		f.add(r)
		return nil
	})
}

func (f *Numbers) add(r *kgo.Record) {
	value, ok := numberOf(r)
	if !ok || !f.share.has(digest(value)) {
		return
	}
	t := f.trails[value]
	if t == nil {
		t = &trail{}
		f.trails[value] = t
	}
	switch r.Topic {
	case numberTopic:
		n := &Number{Value: value}
		f.Fed, t.numbers = append(f.Fed, n), append(t.numbers, n)
	case answerTopic:
		t.answers = append(t.answers, r.Timestamp)
	default:
		t.passes = append(t.passes, pass{traceID(r), r.Timestamp})
	}
	if t.pair() {
		delete(f.trails, value)
	}
}

// others are the records on even-topic and odd-topic that no number of this value has as its own.
func (f *Numbers) others(value int64) []pass {
	if t := f.trails[value]; t != nil {
		return t.passes
	}
	return nil
}

// numberOf returns the number that a record is about.
func numberOf(r *kgo.Record) (value int64, ok bool) {
	if r.Topic == answerTopic {
		var answer struct{ Number *int64 }
		if err := json.Unmarshal(r.Value, &answer); err != nil || answer.Number == nil {
			return 0, false
		}
		return *answer.Number, true
	}
	text := string(r.Value)
	if r.Topic == numberTopic {
		text = strings.Trim(text, " \t\n\v\f\r")
	}
	value, err := strconv.ParseInt(text, 10, 64)
	return value, err == nil
}

// trail is what is left over of one value: numbers of which something is still to come, and records for which no number is there.
type trail struct {
	numbers []*Number
	passes  []pass
	answers []time.Time
}

// pass is a record on even-topic or odd-topic.
type pass struct {
	trace string
	at    time.Time
}

// pair gives to the numbers what has come of them, first come first served, and returns whether nothing is left over.
func (t *trail) pair() bool {
	for _, n := range t.numbers {
		if !n.passed && len(t.passes) > 0 {
			n.passed, n.TraceID, n.Arrived = true, t.passes[0].trace, n.Arrived || n.Value%2 != 0
			n.seen(t.passes[0].at)
			t.passes = t.passes[1:]
		}
		if !n.Arrived && len(t.answers) > 0 {
			n.Arrived = true
			n.seen(t.answers[0])
			t.answers = t.answers[1:]
		}
	}
	t.numbers = slices.DeleteFunc(t.numbers, func(n *Number) bool { return n.passed && n.Arrived })
	return len(t.numbers)+len(t.passes)+len(t.answers) == 0
}

func (n *Number) seen(at time.Time) {
	if n.First.IsZero() || at.Before(n.First) {
		n.First = at
	}
	if at.After(n.Last) {
		n.Last = at
	}
}

// traceID reads the trace a record belongs to; "" when its header is missing or malformed.
func traceID(r *kgo.Record) string {
	for _, h := range r.Headers {
		if h.Key != jaeger.ContextHeader {
			continue
		}
		if id := jaeger.TraceOf(string(h.Value)); id != "" {
			return plainID(id)
		}
	}
	return ""
}
