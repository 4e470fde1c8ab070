package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// contrastResult is all that is told of the runs of all ways.
type contrastResult struct {
	Version  string        `json:"version"`
	Seed     uint64        `json:"seed"`
	Duration string        `json:"duration"` // of the faults of each way
	Took     string        `json:"took"`
	Ways     []wayResult   `json:"ways"`
	Faults   []contrastRow `json:"faults"`
}

// wayResult is what is told of one way.
type wayResult struct {
	Name   string   `json:"name"`
	Total  tally    `json:"total"`
	ByHand []string `json:"started_by_hand,omitempty"` // the faults behind which its carrier was
}

// contrastRow is what is told of one fault.
type contrastRow struct {
	Fault   string   `json:"fault"`
	Seconds float64  `json:"seconds"`
	Ways    []*tally `json:"ways"` // null: there is not what it is on
}

// add adds a way. The first has all faults.
func (r *contrastResult) add(t *trip) {
	of := wayResult{Name: t.Name, ByHand: t.byHand}
	tallies := map[string]*tally{}
	for i, phase := range t.phases {
		tallies[phase.name] = &t.tally[i]
		of.Total.add(t.tally[i])
		if len(r.Ways) == 0 {
			r.Faults = append(r.Faults, contrastRow{Fault: phase.name, Seconds: phase.lasted.Seconds()})
		}
	}
	for i := range r.Faults {
		r.Faults[i].Ways = append(r.Faults[i].Ways, tallies[r.Faults[i].Fault])
	}
	r.Ways = append(r.Ways, of)
}

// tell prints the result and leaves it in a folder. It returns an error if the first way, which is the relay's, has lost anything.
func (r *contrastResult) tell(out io.Writer, folder string) error {
	if err := leave(out, filepath.Join(folder, "contrast.json"), filepath.Join(folder, "contrast.md"), r); err != nil {
		return err
	}
	if relay := r.Ways[0].Total; relay.Lost+relay.Waiting > 0 {
		return errLost
	}
	return nil
}

// write writes the result as Markdown.
func (r *contrastResult) write(w io.Writer) {
	fmt.Fprintf(w, "Seed %d, faults for %s in each way, %s in all. Spans lost, of those that ended meanwhile:\n\n", r.Seed, r.Duration, r.Took)
	line, flush := markdownTable(w)
	head, rule, all := []any{"fault", "s"}, []any{"---", "--:"}, []any{"all", ""}
	for _, of := range r.Ways {
		head, rule, all = append(head, of.Name), append(rule, "--:"), append(all, of.Total.String())
	}
	line(head...)
	line(rule...)
	for _, row := range r.Faults {
		cells := []any{row.Fault, fmt.Sprintf("%.0f", row.Seconds)}
		for _, t := range row.Ways {
			if t == nil {
				cells = append(cells, "–")
				continue
			}
			cells = append(cells, t.String())
		}
		line(cells...)
	}
	line(all...)
	flush()
	fmt.Fprintln(w)
	for _, of := range r.Ways {
		fmt.Fprintf(w, "%s: %d more spans were not sent yet when their client was killed.", of.Name, of.Total.NotSent)
		if len(of.ByHand) > 0 {
			fmt.Fprintf(w, " It stood still, and was started anew by hand, after: %s.", strings.Join(of.ByHand, "; "))
		}
		fmt.Fprintln(w)
	}
}

// String tells what was lost, of how much.
func (t tally) String() string {
	text := fmt.Sprintf("%d of %d", t.Lost, t.Spans)
	if t.Waiting > 0 {
		text += fmt.Sprintf(", %d wait", t.Waiting)
	}
	return text
}
