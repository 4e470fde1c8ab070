// Package verdict says whether every span of the system reached Jaeger.
//
// It knows two things to compare Jaeger's answer with. First, what each number must produce: nine spans in one chain for an even
// one, two for an odd one. Which trace belongs to which number is read from the business topics, whose records carry the trace in
// their header; so the count works whatever way the spans took, and also when a whole trace is gone. Second, what lies on
// tracing-topic: each of its spans must be in Jaeger with the same fields.
//
// The package counts and compares; it waits for nothing and repairs nothing.
package verdict

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"fault-tolerant-tracing/services/internal/deadletter"
)

// Result is the outcome. All counts are exact for the records and traces that were given to [Judge].
type Result struct {
	NumbersFed     int // numbers written to number-topic
	NumbersArrived int // of these, even ones with an answer on answer-topic and odd ones on odd-topic

	TracesExpected int // one for each number that arrived
	Traces         int // of these, complete in Jaeger: every span there, with the right parent, and none too many
	SpansExpected  int // what these traces must hold
	Spans          int // of these, found in Jaeger
	Lost           int // SpansExpected − Spans
	Misplaced      int // traces with all their spans and none too many, of which one has another parent
	Duplicated     int // spans that Jaeger returned more than once, or that lie on tracing-topic more than once

	TopicSpans   int // distinct spans on tracing-topic, those that belong to no number included
	TopicMissing int // of these, and of the records without spans, neither in Jaeger nor set aside
	TopicDiffer  int // of these, in Jaeger with another field

	SetAside int // spans, and records without spans, that lie on tracing-dlq and not in Jaeger

	Example  string   // the id of the longest whole trace; "" if none is whole
	Problems []string // one sentence for each thing that is wrong, in the order of the numbers

	longest int // spans in Example
}

// String is the line that the demo ends with.
func (r Result) String() string {
	return fmt.Sprintf("traces %d/%d, spans %d/%d, lost %d, duplicated %d",
		r.Traces, r.TracesExpected, r.Spans, r.SpansExpected, r.Lost, r.Duplicated)
}

// Complete reports that every number arrived, every trace is whole and Jaeger holds all of tracing-topic unchanged. Duplicates do
// not count against it: delivery is at least once.
func (r Result) Complete() bool {
	return r.NothingLost() && r.Traces == r.TracesExpected
}

// NothingLost reports what Complete does, but for spans too many: a service that was killed does again what it had begun.
func (r Result) NothingLost() bool {
	return r.NumbersFed > 0 && r.NumbersArrived == r.NumbersFed && r.Lost == 0 && r.Misplaced == 0 && r.TopicMissing == 0 && r.TopicDiffer == 0
}

// Written is what lies on tracing-topic, in any order (nothing for the direct transport).
type Written struct {
	Spans   []Span
	Strange []Strange
	Aside   []*kgo.Record // what was set aside of it, on tracing-dlq
}

// Judge compares. numbers is what came of the numbers fed (see [Numbers]), and inJaeger every span that Jaeger returned, duplicates
// included, of at least the traces of numbers and of what was written.
func Judge(numbers []Number, written Written, inJaeger []Span) Result {
	var r Result
	traces := map[string][]Span{} // by trace id, each span once
	found := distinct(inJaeger)
	for _, s := range found.spans {
		traces[s.TraceID] = append(traces[s.TraceID], s)
	}
	for _, n := range numbers {
		r.number(n, traces[n.TraceID])
	}
	r.Lost = r.SpansExpected - r.Spans

	onTopic, dead := distinct(written.Spans), origins(written.Aside)
	spansAside, _ := FromTopic(written.Aside)
	aside := distinct(spansAside)
	r.TopicSpans = len(onTopic.spans)
	for _, s := range onTopic.spans {
		r.topicSpan(s, found, aside)
	}
	for _, s := range written.Strange {
		if dead[origin{strconv.Itoa(int(s.Partition)), strconv.FormatInt(s.Offset, 10)}] {
			r.SetAside++
		} else {
			r.TopicMissing++
			r.Problems = append(r.Problems, s.String())
		}
	}
	r.Duplicated = len(merge(found.repeated, onTopic.repeated))
	return r
}

// origin is where a letter was read before it was set aside, as its headers say.
type origin struct{ partition, offset string }

func origins(letters []*kgo.Record) map[origin]bool {
	found := map[origin]bool{}
	for _, r := range letters {
		var o origin
		for _, h := range r.Headers {
			switch h.Key {
			case deadletter.HeaderPartition:
				o.partition = string(h.Value)
			case deadletter.HeaderOffset:
				o.offset = string(h.Value)
			}
		}
		found[o] = true
	}
	return found
}

// number counts one number and its trace.
func (r *Result) number(n Number, trace []Span) {
	r.NumbersFed++
	if !n.Arrived {
		r.Problems = append(r.Problems, fmt.Sprintf("number %d did not arrive", n.Value))
		return
	}
	r.NumbersArrived++
	r.TracesExpected++
	want := links(n.Value)
	got, problems := match(want, trace)
	r.SpansExpected += len(want)
	r.Spans += got
	if len(problems) > 0 && got == len(want) && got == len(trace) {
		r.Misplaced++
	}
	if len(problems) == 0 {
		r.Traces++
		if len(want) > r.longest {
			r.Example, r.longest = n.TraceID, len(want)
		}
	}
	for _, p := range problems {
		r.Problems = append(r.Problems, fmt.Sprintf("number %d, trace %s: %s", n.Value, n.TraceID, p))
	}
}

// topicSpan looks one span of tracing-topic up in Jaeger's answer, and among those that were set aside.
func (r *Result) topicSpan(s Span, found, aside set) {
	i, ok := found.index[s.key()]
	if _, dead := aside.index[s.key()]; !ok && dead {
		r.SetAside++
		return
	}
	if !ok {
		r.TopicMissing++
		r.Problems = append(r.Problems, fmt.Sprintf("%s is on tracing-topic and not in Jaeger", s))
		return
	}
	if diff := Differences(s, found.spans[i]); len(diff) > 0 {
		r.TopicDiffer++
		for _, d := range diff {
			r.Problems = append(r.Problems, fmt.Sprintf("%s: %s", s, d))
		}
	}
}

// set is a list of spans without repetition.
type set struct {
	spans    []Span
	index    map[spanKey]int
	repeated map[spanKey]bool
}

func distinct(spans []Span) set {
	s := set{index: map[spanKey]int{}, repeated: map[spanKey]bool{}}
	for _, span := range spans {
		if _, seen := s.index[span.key()]; seen {
			s.repeated[span.key()] = true
			continue
		}
		s.index[span.key()] = len(s.spans)
		s.spans = append(s.spans, span)
	}
	slices.SortStableFunc(s.spans, func(a, b Span) int { return cmp.Compare(a.Start, b.Start) })
	for i, span := range s.spans {
		s.index[span.key()] = i
	}
	return s
}

func merge(a, b map[spanKey]bool) map[spanKey]bool {
	all := map[spanKey]bool{}
	for _, m := range []map[spanKey]bool{a, b} {
		for k := range m {
			all[k] = true
		}
	}
	return all
}
