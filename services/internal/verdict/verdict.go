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
	"fmt"

	"fault-tolerant-tracing/services/internal/printable"
)

// Result is what a [Checker] knows.
type Result struct {
	NumbersFed     int // numbers written to number-topic
	NumbersArrived int // of these, even ones with an answer on answer-topic and odd ones on odd-topic

	TracesExpected int // one for each number that arrived
	Traces         int // of these, complete in Jaeger: every span there, with the right parent, and none too many
	Chains         int // of TracesExpected, those that hold all they must, and maybe more
	SpansExpected  int // what these traces must hold
	Spans          int // of these, found in Jaeger
	Lost           int // of these, neither found nor set aside
	Misplaced      int // traces with all their spans and none too many, of which one has another parent
	Duplicated     int // spans that Jaeger returned more than once, or that lie on tracing-topic more than once

	// NotSent are those of Lost that never came to tracing-topic, and that a process of random may have had when another took its place:
	// it answers before its span is safe. The other services do a record again unless its spans are.
	NotSent int

	TopicSpans   int // distinct spans on tracing-topic, those that belong to no number included
	TopicMissing int // of these, and of the records without spans, neither in Jaeger nor set aside
	TopicDiffer  int // of these, in Jaeger with another field

	SetAside int // spans, and records without spans, that lie on tracing-dlq with a reason and not in Jaeger

	Phases []Phase // the parts of the run; one if the Checker knows of no others

	Example  string   // the id of the longest whole trace; "" if none is whole
	Problems []string // one sentence for each thing that is wrong, first about tracing-topic, then about numbers; at most 1 000

	longest int  // spans in Example
	part    bool // of the whole: a share
}

// Phase counts what was written in one part of a run.
type Phase struct {
	Sent       int // distinct spans on tracing-topic, and records without spans
	Found      int // of these, in Jaeger as they were written
	Duplicated int // of these, more than once on tracing-topic or in Jaeger
	SetAside   int // of these, on tracing-dlq with a reason, and not in Jaeger
	Changed    int // of these, in Jaeger with another field
	Lost       int // of these, neither in Jaeger nor set aside; and those that a number lacks and nothing explains
	NotSent    int // that a number lacks, as a process of random was killed before it had sent them
}

func (p *Phase) add(other Phase) {
	p.Sent += other.Sent
	p.Found += other.Found
	p.Duplicated += other.Duplicated
	p.SetAside += other.SetAside
	p.Changed += other.Changed
	p.Lost += other.Lost
	p.NotSent += other.NotSent
}

// phase returns the one with a number.
func (r *Result) phase(i int) *Phase {
	for len(r.Phases) <= i {
		r.Phases = append(r.Phases, Phase{})
	}
	return &r.Phases[i]
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
	return r.Lost == 0 && r.OnlyNotSent()
}

// OnlyNotSent reports what NothingLost does, but for those of NotSent.
func (r Result) OnlyNotSent() bool {
	return (r.NumbersFed > 0 || r.part) && r.NumbersArrived == r.NumbersFed && r.Lost == r.NotSent && r.Misplaced == 0 && r.TopicMissing == 0 && r.TopicDiffer == 0
}

// add adds what was found in another [Share].
func (r *Result) add(share Result) {
	r.NumbersFed += share.NumbersFed
	r.NumbersArrived += share.NumbersArrived
	r.TracesExpected += share.TracesExpected
	r.Traces += share.Traces
	r.Chains += share.Chains
	r.SpansExpected += share.SpansExpected
	r.Spans += share.Spans
	r.Lost += share.Lost
	r.Misplaced += share.Misplaced
	r.Duplicated += share.Duplicated
	r.TopicSpans += share.TopicSpans
	r.TopicMissing += share.TopicMissing
	r.TopicDiffer += share.TopicDiffer
	r.SetAside += share.SetAside
	r.NotSent += share.NotSent
	for i, phase := range share.Phases {
		r.phase(i).add(phase)
	}
	if share.longest > r.longest {
		r.Example, r.longest = share.Example, share.longest
	}
	for _, p := range share.Problems {
		r.problem("%s", p)
	}
}

const maxProblems = 1000

func (r *Result) problem(format string, args ...any) {
	if len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, printable.Line(fmt.Sprintf(format, args...)))
	}
}

// whole counts so many numbers of this value whose traces are whole.
func (r *Result) whole(value int64, numbers int) {
	spans := numbers * len(links(value))
	r.NumbersFed += numbers
	r.NumbersArrived += numbers
	r.TracesExpected += numbers
	r.Traces += numbers
	r.Chains += numbers
	r.SpansExpected += spans
	r.Spans += spans
}

// absent counts a span or a record on tracing-topic that is not in Jaeger.
func (r *Result) absent(phase int, aside bool, problem string, args ...any) {
	if aside {
		r.SetAside++
		r.phase(phase).SetAside++
		return
	}
	r.TopicMissing++
	r.phase(phase).Lost++
	r.problem(problem, args...)
}

// number counts a number that is open, and returns what it lacks.
func (r *Result) number(n *Number) (missing []step) {
	r.NumbersFed++
	if !n.Arrived {
		r.problem("number %d did not arrive", n.Value)
		return nil
	}
	r.NumbersArrived++
	r.TracesExpected++
	r.SpansExpected += len(links(n.Value))
	f := n.finding
	if f == nil {
		f = find(n.Value, nil)
	}
	r.Spans += f.found
	if f.chain {
		r.Chains++
	}
	if f.misplaced {
		r.Misplaced++
	}
	if f.whole() {
		r.Traces++
	}
	for _, p := range f.problems {
		r.problem("number %d, trace %s: %s", n.Value, n.TraceID, p)
	}
	return f.missing
}
