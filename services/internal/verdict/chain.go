package verdict

import "fmt"

// link is one span of the chain that a number must produce.
type link struct {
	service   string
	operation string
	parent    int // index of the link it is the child of; -1 for the root
}

func (l link) String() string { return l.service + ": " + l.operation }

var (
	evenChain = []link{
		{"stream", "From_number-topic", -1},
		{"stream", "To_even-topic", 0},
		{"sentence", "From_even-topic", 1},
		{"sentence", "POST /random", 2},
		{"sentence", "HTTP POST", 3},
		{"random", "POST /random", 4},
		{"sentence", "To_sentence-topic", 2},
		{"answer", "From_sentence-topic", 6},
		{"answer", "To_answer-topic", 7},
	}
	oddChain = []link{
		{"stream", "From_number-topic", -1},
		{"stream", "To_odd-topic", 0},
	}
)

// links returns what a number must produce, parents before children.
func links(number int64) []link {
	if number%2 == 0 {
		return evenChain
	}
	return oddChain
}

// match finds the spans of a chain in one trace. It returns how many of them are there, the links that are not, and one sentence for
// each that is missing, hangs below the wrong parent or is too many.
func match(chain []link, trace []Span) (found int, missing []link, problems []string) {
	at := make([]string, len(chain)) // the ids of the spans found
	for i, l := range chain {
		parent := ""
		if l.parent >= 0 {
			parent = at[l.parent]
		}
		span, ok := pick(l, parent, trace)
		if !ok {
			missing = append(missing, l)
			problems = append(problems, fmt.Sprintf("%s is missing", l))
			continue
		}
		parentKnown := l.parent < 0 || parent != ""
		if parentKnown && span.ParentID != parent {
			problems = append(problems, fmt.Sprintf("%s hangs below span %q instead of %q", l, span.ParentID, parent))
		}
		at[i] = span.ID
		found++
	}
	if extra := len(trace) - found; extra > 0 {
		problems = append(problems, fmt.Sprintf("%d span(s) too many", extra))
	}
	return found, missing, problems
}

// pick returns the span of a link, and if there are several, the one that hangs below parent.
func pick(l link, parent string, trace []Span) (picked Span, ok bool) {
	for _, s := range trace {
		if s.Service != l.service || s.Operation != l.operation {
			continue
		}
		if !ok || s.ParentID == parent {
			picked, ok = s, true
		}
	}
	return picked, ok
}
