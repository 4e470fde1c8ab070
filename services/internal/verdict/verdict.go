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

	// NotSent are those of Lost, by service, that never came to tracing-topic, and that a process may have had when another took its
	// place: it was killed, or it ended while Kafka was away.
	NotSent map[string]int

	TopicSpans   int // distinct spans on tracing-topic, those that belong to no number included
	TopicMissing int // of these, and of the records without spans, neither in Jaeger nor set aside
	TopicDiffer  int // of these, in Jaeger with another field

	SetAside int // spans, and records without spans, that lie on tracing-dlq and not in Jaeger

	Example  string   // the id of the longest whole trace; "" if none is whole
	Problems []string // one sentence for each thing that is wrong, first about tracing-topic, then in the order of the numbers; at most 1 000

	longest int // spans in Example
	lives   lives
	stuck   map[step]bool // spans that are on tracing-topic and not in Jaeger, set aside or not; the first 10 000
}

// step is a span as its trace knows it before it is there.
type step struct{ trace, service, operation string }

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
	return r.Lost == 0 && r.OnlyNotSent()
}

// OnlyNotSent reports what NothingLost does, but for spans that a process had not sent when another took its place.
func (r Result) OnlyNotSent() bool {
	explained := 0
	for _, n := range r.NotSent {
		explained += n
	}
	return r.NumbersFed > 0 && r.NumbersArrived == r.NumbersFed && r.Lost == explained && r.Misplaced == 0 && r.TopicMissing == 0 && r.TopicDiffer == 0
}

// Written is what lies on tracing-topic, in any order (nothing for the direct transport).
type Written struct {
	Spans   []Span
	Strange []Strange
	Aside   []*kgo.Record // what was set aside of it, on tracing-dlq
}

func newResult() Result {
	return Result{NotSent: map[string]int{}, lives: lives{}, stuck: map[step]bool{}}
}

// Judge compares. numbers is what came of the numbers fed (see [Numbers]), and inJaeger every span that Jaeger returned, duplicates
// included, of at least the traces of numbers and of what was written.
func Judge(numbers []Number, written Written, inJaeger []Span) Result {
	r := newResult()
	for _, s := range written.Spans {
		r.lives.add(s)
	}
	traces := map[string][]Span{} // by trace id, each span once
	found := distinct(inJaeger)
	for _, s := range found.spans {
		traces[s.TraceID] = append(traces[s.TraceID], s)
	}
	onTopic, dead := distinct(written.Spans), map[origin]bool{}
	for _, letter := range written.Aside {
		dead[originOf(letter)] = true
	}
	spansAside, _ := FromTopic(written.Aside)
	aside := distinct(spansAside)
	r.TopicSpans = len(onTopic.spans)
	for _, s := range onTopic.spans {
		r.topicSpan(s, found, aside)
	}
	for _, s := range written.Strange {
		r.strange(s, dead)
	}
	for _, n := range numbers {
		r.number(n, traces[n.TraceID])
	}
	r.Duplicated = len(merge(found.repeated, onTopic.repeated))
	return r
}

// origin is where a record was read, as the headers of a letter say it.
type origin struct{ partition, offset string }

func (s Strange) origin() origin {
	return origin{strconv.Itoa(int(s.Partition)), strconv.FormatInt(s.Offset, 10)}
}

// originOf returns where a letter was read before it was set aside.
func originOf(letter *kgo.Record) (o origin) {
	for _, h := range letter.Headers {
		switch h.Key {
		case deadletter.HeaderPartition:
			o.partition = string(h.Value)
		case deadletter.HeaderOffset:
			o.offset = string(h.Value)
		}
	}
	return o
}

const (
	maxProblems = 1000
	maxStuck    = 10_000
)

func (r *Result) problem(sentence string) {
	if len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, sentence)
	}
}

// number counts one number and its trace.
func (r *Result) number(n Number, trace []Span) {
	r.NumbersFed++
	if !n.Arrived {
		r.problem(fmt.Sprintf("number %d did not arrive", n.Value))
		return
	}
	r.NumbersArrived++
	r.TracesExpected++
	want := links(n.Value)
	got, missing, problems := match(want, trace)
	r.SpansExpected += len(want)
	r.Spans += got
	r.Lost += len(missing)
	for _, l := range missing {
		if !r.stuck[step{n.TraceID, l.service, l.operation}] && r.lives.changed(l.service, n.First, n.Last) {
			r.NotSent[l.service]++
		}
	}
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
		r.problem(fmt.Sprintf("number %d, trace %s: %s", n.Value, n.TraceID, p))
	}
}

// topicSpan looks one span of tracing-topic up in Jaeger's answer, and among those that were set aside.
func (r *Result) topicSpan(s Span, found, aside set) {
	i, ok := found.index[s.key()]
	if !ok && len(r.stuck) < maxStuck {
		r.stuck[step{s.TraceID, s.Service, s.Operation}] = true
	}
	if _, dead := aside.index[s.key()]; !ok && dead {
		r.SetAside++
		return
	}
	if !ok {
		r.TopicMissing++
		r.problem(fmt.Sprintf("%s is on tracing-topic and not in Jaeger", s))
		return
	}
	if diff := Differences(s, found.spans[i]); len(diff) > 0 {
		r.TopicDiffer++
		for _, d := range diff {
			r.problem(fmt.Sprintf("%s: %s", s, d))
		}
	}
}

// strange looks a record without spans up among those that were set aside.
func (r *Result) strange(s Strange, dead map[origin]bool) {
	if dead[s.origin()] {
		r.SetAside++
		return
	}
	r.TopicMissing++
	r.problem(s.String())
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
