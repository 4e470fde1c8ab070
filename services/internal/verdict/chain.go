package verdict

import (
	"fmt"
	"slices"
)

// The services that are asked about by themselves.
const (
	streamService = "stream"
	restService   = "random"
)

// step is a span as its trace knows it before it is there.
type step struct{ service, operation string }

func (s step) String() string { return s.service + ": " + s.operation }

// link is one span of the chain that a number must produce.
type link struct {
	step
	parent int // index of the link it is the child of; -1 for the root
}

var (
	evenChain = []link{
		{step{streamService, "From_number-topic"}, -1},
		{step{streamService, "To_even-topic"}, 0},
		{step{"sentence", "From_even-topic"}, 1},
		{step{"sentence", "POST /random"}, 2},
		{step{"sentence", "HTTP POST"}, 3},
		{step{restService, "POST /random"}, 4},
		{step{"sentence", "To_sentence-topic"}, 2},
		{step{"answer", "From_sentence-topic"}, 6},
		{step{"answer", "To_answer-topic"}, 7},
	}
	oddChain = []link{
		{step{streamService, "From_number-topic"}, -1},
		{step{streamService, "To_odd-topic"}, 0},
	}
)

// links returns what a number must produce, parents before children.
func links(number int64) []link {
	if number%2 == 0 {
		return evenChain
	}
	return oddChain
}

// finding is what of its chain a number has in a trace.
type finding struct {
	found     int  // of the spans that it must produce
	chain     bool // all of them, each below the right one
	missing   []step
	misplaced bool     // all are there and none is too many, but one has another parent
	problems  []string // one sentence for each span that is missing, hangs below the wrong parent or is too many
}

func (f *finding) whole() bool { return len(f.problems) == 0 }

// find looks for the chain of a number in the spans of its trace.
func find(number int64, trace []Span) *finding {
	chain := links(number)
	if hangs(chain, 0, "", trace) {
		f := &finding{found: len(chain), chain: true}
		f.tooMany(len(trace))
		return f
	}
	f, at := &finding{}, make([]string, len(chain)) // the ids of the spans found
	for i, l := range chain {
		parent := ""
		if l.parent >= 0 {
			parent = at[l.parent]
		}
		span, ok := pick(l.step, parent, trace)
		if !ok {
			f.missing = append(f.missing, l.step)
			f.problems = append(f.problems, fmt.Sprintf("%s is missing", l))
			continue
		}
		parentKnown := l.parent < 0 || parent != ""
		if parentKnown && span.ParentID != parent {
			f.problems = append(f.problems, fmt.Sprintf("%s hangs below span %q instead of %q", l, span.ParentID, parent))
		}
		at[i] = span.ID
		f.found++
	}
	f.tooMany(len(trace))
	f.misplaced = !f.whole() && f.found == len(chain) && f.found == len(trace)
	return f
}

// tooMany notes that the trace has more spans than were found.
func (f *finding) tooMany(spans int) {
	if extra := spans - f.found; extra > 0 {
		f.problems = append(f.problems, fmt.Sprintf("%d span(s) too many", extra))
	}
}

// hangs tells whether a link, and all that must hang below it, hangs below a span of the trace. What was done again has parts of the
// chain more than once: one has to be whole.
func hangs(chain []link, i int, below string, trace []Span) bool {
	return slices.ContainsFunc(trace, func(s Span) bool {
		if s.step() != chain[i].step || s.ParentID != below {
			return false
		}
		for child, l := range chain {
			if l.parent == i && !hangs(chain, child, s.ID, trace) {
				return false
			}
		}
		return true
	})
}

// pick returns the span of a step, and if there are several, the one that hangs below parent.
func pick(of step, parent string, trace []Span) (picked Span, ok bool) {
	for _, s := range trace {
		if s.step() != of {
			continue
		}
		if !ok || s.ParentID == parent {
			picked, ok = s, true
		}
	}
	return picked, ok
}
