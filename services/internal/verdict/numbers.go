package verdict

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/uber/jaeger-client-go"
)

// The business topics that numbers are followed through.
const (
	numberTopic = "number-topic"
	evenTopic   = "even-topic"
	oddTopic    = "odd-topic"
	answerTopic = "answer-topic"
)

// Fed returns the numbers on number-topic, in no particular order: each record that is an integer of 64 bits, white space of ASCII around it. It blocks until
// everything is read or ctx ends.
func Fed(ctx context.Context, brokers []string) (numbers []int64, err error) {
	err = Scan(ctx, brokers, func(r *kgo.Record) error {
		if n, ok := fedNumber(r); ok {
			numbers = append(numbers, n)
		}
		return nil
	}, numberTopic)
	return numbers, err
}

func fedNumber(r *kgo.Record) (int64, bool) {
	n, err := strconv.ParseInt(strings.Trim(string(r.Value), " \t\n\v\f\r"), 10, 64)
	return n, err == nil
}

// Topics returns the names of the topics whose records [Numbers] needs. The slice is the caller's.
func Topics() []string { return []string{evenTopic, oddTopic, answerTopic} }

// Number is one number that was fed, and what became of it.
type Number struct {
	Value   int64
	TraceID string // of the trace it was given, hex without leading zeros; "" when no record tells
	Arrived bool   // an even one has its answer on answer-topic, an odd one lies on odd-topic

	First, Last time.Time // when the first and the last record of this value was written; zero when there is none
}

// Numbers follows each number fed through records, which hold the topics of [Topics] in any order. A number fed twice is two
// numbers. The trace of a number is in the header of its record on even-topic or odd-topic; records that nobody asked for are
// left out.
func Numbers(fed []int64, records []*kgo.Record) []Number {
	t := newTrails(fed)
	for _, r := range records {
		t.add(r)
	}
	return t.numbers(fed)
}

// trails are what records tell of the numbers fed.
type trails map[int64]*trail

// trail is that of one value, however often it was fed.
type trail struct {
	traces      []string // of the records on even-topic or odd-topic
	answers     int
	first, last time.Time
}

func newTrails(fed []int64) trails {
	t := make(trails, len(fed))
	for _, n := range fed {
		t[n] = &trail{}
	}
	return t
}

// add takes a record of one of the topics of [Topics].
func (t trails) add(r *kgo.Record) {
	var of *trail
	if r.Topic == answerTopic {
		var answer struct{ Number *int64 }
		if err := json.Unmarshal(r.Value, &answer); err == nil && answer.Number != nil {
			of = t[*answer.Number]
		}
	} else if n, err := strconv.ParseInt(string(r.Value), 10, 64); err == nil {
		of = t[n]
	}
	if of == nil {
		return
	}
	if r.Topic == answerTopic {
		of.answers++
	} else {
		of.traces = append(of.traces, traceID(r))
	}
	if of.first.IsZero() || r.Timestamp.Before(of.first) {
		of.first = r.Timestamp
	}
	if r.Timestamp.After(of.last) {
		of.last = r.Timestamp
	}
}

// numbers returns the numbers fed, each with a trace of its own. It uses the trails up.
func (t trails) numbers(fed []int64) []Number {
	numbers := make([]Number, 0, len(fed))
	for _, value := range fed {
		of := t[value]
		n := Number{Value: value, First: of.first, Last: of.last}
		if len(of.traces) > 0 {
			n.TraceID, of.traces = of.traces[0], of.traces[1:]
			n.Arrived = value%2 != 0
		}
		if of.answers > 0 {
			of.answers--
			n.Arrived = true
		}
		numbers = append(numbers, n)
	}
	return numbers
}

// traceID reads the trace a record belongs to; "" when its header is missing or malformed.
func traceID(r *kgo.Record) string {
	for _, h := range r.Headers {
		if h.Key != jaeger.TraceContextHeaderName {
			continue
		}
		if c, err := jaeger.ContextFromString(string(h.Value)); err == nil {
			return plainID(c.TraceID().String())
		}
	}
	return ""
}
