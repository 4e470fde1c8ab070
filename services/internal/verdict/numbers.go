package verdict

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"

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
	records, err := ReadTopics(ctx, brokers, numberTopic)
	for _, r := range records {
		if n, err := strconv.ParseInt(strings.Trim(string(r.Value), " \t\n\v\f\r"), 10, 64); err == nil {
			numbers = append(numbers, n)
		}
	}
	return numbers, err
}

// Topics returns the names of the topics whose records [Numbers] needs. The slice is the caller's.
func Topics() []string { return []string{evenTopic, oddTopic, answerTopic} }

// Number is one number that was fed, and what became of it.
type Number struct {
	Value   int64
	TraceID string // of the trace it was given, hex without leading zeros; "" when no record tells
	Arrived bool   // an even one has its answer on answer-topic, an odd one lies on odd-topic
}

// Numbers follows each number fed through records, which hold the topics of [Topics] in any order. A number fed twice is two
// numbers. The trace of a number is in the header of its record on even-topic or odd-topic; records that nobody asked for are
// left out.
func Numbers(fed []int64, records []*kgo.Record) []Number {
	traces := map[int64][]string{} // by number, of the records on even-topic and odd-topic
	answered := map[int64]int{}
	for _, r := range records {
		switch r.Topic {
		case evenTopic, oddTopic:
			if n, err := strconv.ParseInt(string(r.Value), 10, 64); err == nil {
				traces[n] = append(traces[n], traceID(r))
			}
		case answerTopic:
			var answer struct{ Number *int64 }
			if err := json.Unmarshal(r.Value, &answer); err == nil && answer.Number != nil {
				answered[*answer.Number]++
			}
		}
	}

	numbers := make([]Number, 0, len(fed))
	for _, value := range fed {
		n := Number{Value: value}
		if left := traces[value]; len(left) > 0 {
			n.TraceID, traces[value] = left[0], left[1:]
			n.Arrived = value%2 != 0
		}
		if answered[value] > 0 {
			answered[value]--
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
