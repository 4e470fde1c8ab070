package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"fault-tolerant-tracing/services/internal/service"
	"fault-tolerant-tracing/services/internal/verdict"
)

// shownProblems is how many problems are told; result.json has more.
const shownProblems = 20

var errLost = errors.New("something was lost")

// row is what is told of one phase.
type row struct {
	Fault      string  `json:"fault"`
	Seconds    float64 `json:"seconds"`           // that it lasted
	Recovered  float64 `json:"recovered_seconds"` // until all that was on the topics at its end was done
	Sent       int     `json:"sent"`
	Found      int     `json:"found"` // in Jaeger, as they were written
	Duplicated int     `json:"duplicated"`
	SetAside   int     `json:"set_aside"`
	Changed    int     `json:"changed"`
	Lost       int     `json:"lost"`
	NotSent    int     `json:"not_sent"` // taken along by a process that was killed, before it could send them
}

// result is all that is told of a run.
type result struct {
	Version  string `json:"version"`
	Kafka    string `json:"kafka"`
	Seed     uint64 `json:"seed"`
	Duration string `json:"duration"`
	Took     string `json:"took"`
	Rows     []row  `json:"faults"`
	Total    row    `json:"total"`

	Kept           bool         `json:"kept"` // nothing was lost, and nothing has changed
	Numbers        int          `json:"numbers"`
	NumbersArrived int          `json:"numbers_arrived"`
	Chains         int          `json:"chains_whole"`  // traces of numbers with all that they must have
	Repeated       int          `json:"chains_repeat"` // of those that arrived, with spans of work that was done again
	Clients        *clientSpans `json:"clients"`
	Missed         []string     `json:"no_time_for,omitempty"`
	Problems       []string     `json:"problems,omitempty"`
}

// judge waits until all is in Jaeger, or nothing more comes, and counts.
func (p *proof) judge(ctx context.Context) (*result, error) {
	p.say("the faults are over: comparing what was sent with what is in Jaeger")
	checker := verdict.New(p.brokers(), p.brokers(), p.query)
	checker.Phase = p.phaseAt
	var v verdict.Result
	known := false
	err := until(ctx, func(context.Context) (string, bool) {
		now, err := checker.Check(ctx) // a long run takes it longer than one try may
		if err != nil {
			return err.Error(), false
		}
		text := fmt.Sprintf("%s; tracing-topic: %d spans, %d missing, %d changed", now, now.TopicSpans, now.TopicMissing, now.TopicDiffer)
		if !known || now.TopicMissing != v.TopicMissing || now.TopicDiffer != v.TopicDiffer || now.Lost != v.Lost {
			p.say("%s", text)
		}
		v, known = now, true
		return text, v.OnlyNotSent()
	})
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if !known {
		return nil, err // otherwise the time is up, and this is the verdict
	}
	spans, err := count(ctx, p.data("ledger"), p.brokers(), p.phaseAt)
	if err != nil {
		return nil, err
	}
	return p.result(v, spans), nil
}

// kafka says what Kafka is.
func (p *proof) kafka() string {
	if p.jars == "" {
		return "the small broker"
	}
	return fmt.Sprintf("Apache Kafka on %d nodes", len(p.nodes))
}

func (p *proof) result(v verdict.Result, clients *clientSpans) *result {
	r := &result{
		Version: service.Version, Kafka: p.kafka(), Seed: p.seed, Duration: p.duration.String(), Took: time.Since(p.began).Round(time.Second).String(),
		Numbers: v.NumbersFed, NumbersArrived: v.NumbersArrived, Chains: v.Chains, Repeated: v.Chains - v.Traces,
		Clients: clients, Missed: p.missed, Problems: append(clients.told, v.Problems...), Total: row{Fault: "all"},
	}
	for i, phase := range p.phases {
		var of verdict.Phase
		if i < len(v.Phases) {
			of = v.Phases[i]
		}
		now := row{
			Fault: phase.name, Seconds: phase.lasted.Seconds(), Recovered: phase.recovered.Seconds(),
			Sent: of.Sent, Found: of.Found, Duplicated: of.Duplicated, SetAside: of.SetAside, Changed: of.Changed,
			Lost: of.Lost + clients.lost[i], NotSent: of.NotSent + clients.notSent[i],
		}
		r.Rows = append(r.Rows, now)
		r.Total.add(now)
	}
	r.Kept = v.OnlyNotSent() && r.Total.Lost == 0 && r.Total.Changed == 0
	return r
}

func (r *row) add(other row) {
	r.Seconds += other.Seconds
	r.Recovered = max(r.Recovered, other.Recovered)
	r.Sent += other.Sent
	r.Found += other.Found
	r.Duplicated += other.Duplicated
	r.SetAside += other.SetAside
	r.Changed += other.Changed
	r.Lost += other.Lost
	r.NotSent += other.NotSent
}

// tell prints the result and leaves it in the folder. It returns an error if anything was lost.
func (p *proof) tell(r *result) error {
	if err := leave(p.out, p.data("result.json"), p.data("table.md"), r); err != nil {
		return err
	}
	if r.Kept {
		return nil
	}
	for _, problem := range r.Problems[:min(len(r.Problems), shownProblems)] {
		fmt.Fprintln(p.out, problem)
	}
	if more := len(r.Problems) - shownProblems; more > 0 {
		fmt.Fprintf(p.out, "and %d more, in %s\n", more, p.data("result.json"))
	}
	return errLost
}

// leave leaves a result in two files, as JSON and as Markdown, and prints the latter.
func leave(out io.Writer, jsonFile, tableFile string, result interface{ write(w io.Writer) }) error {
	text, err := json.MarshalIndent(result, "", "  ")
	if err != nil {
		return err
	}
	var table strings.Builder
	result.write(&table)
	if err := errors.Join(os.WriteFile(jsonFile, append(text, '\n'), 0o644), os.WriteFile(tableFile, []byte(table.String()), 0o644)); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	fmt.Fprintf(out, "\n%s\n", table.String())
	return nil
}

// write writes the result as Markdown.
func (r *result) write(w io.Writer) {
	fmt.Fprintf(w, "Seed %d, %s, faults for %s, %s in all.\n\n", r.Seed, r.Kafka, r.Duration, r.Took)
	line, flush := markdownTable(w)
	line("fault", "s", "sent", "found", "duplicated", "set aside", "changed", "lost", "not sent", "recovered after, s")
	line("---", "--:", "--:", "--:", "--:", "--:", "--:", "--:", "--:", "--:")
	for _, row := range append(r.Rows, r.Total) {
		line(row.Fault, fmt.Sprintf("%.0f", row.Seconds), row.Sent, row.Found, row.Duplicated, row.SetAside, row.Changed, row.Lost, row.NotSent, fmt.Sprintf("%.1f", row.Recovered))
	}
	flush()
	fmt.Fprintf(w, "\nNumbers: %d of %d arrived, and %d have their whole chain of spans in Jaeger; of these, %d hold more, as work was done again.\n",
		r.NumbersArrived, r.Numbers, r.Chains, r.Repeated)
	fmt.Fprintf(w, "Clients: %d processes, %d of them killed, ended %d spans.", r.Clients.Lives, r.Clients.Killed, r.Clients.Ended)
	if r.Clients.Oldest > 0 {
		fmt.Fprintf(w, " What a kill took along had ended %.1f s before it at most.", r.Clients.Oldest.Seconds())
	}
	fmt.Fprintln(w)
	if len(r.Missed) > 0 {
		fmt.Fprintf(w, "There was no time for these alone: %s.\n", strings.Join(r.Missed, "; "))
	}
}

// markdownTable writes a table line by line, in columns as wide as they have to be, when it is flushed.
func markdownTable(w io.Writer) (line func(cells ...any), flush func()) {
	t := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	return func(cells ...any) {
		for _, cell := range cells {
			fmt.Fprintf(t, "| %v\t", cell)
		}
		fmt.Fprintln(t, "|")
	}, func() { _ = t.Flush() }
}
