package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// series is a measurement with its result in each round.
type series struct {
	measurement
	results []result
}

// median returns the middle one by value; of an even number, the lower one of
// the two.
func (s series) median(value func(result) float64) float64 {
	return s.sorted(value)[(len(s.results)-1)/2]
}

func (s series) sorted(value func(result) float64) (values []float64) {
	for _, r := range s.results {
		values = append(values, value(r))
	}
	slices.Sort(values)
	return values
}

func (s series) rate() float64 { return s.median(result.rate) }

// table is one of Markdown, its head first.
type table [][]string

// writeTables writes the results as tables in Markdown.
func writeTables(w io.Writer, all []series, trials []table) error {
	t := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	for _, size := range []int{9, 100} {
		carried := pick(all, func(s series) bool { return s.size == size && s.kind != ceiling })
		printRates(t, fmt.Sprintf("batches of %d spans, to Jaeger", size), "client or relay", "Jaeger", carried)
	}
	printRatios(t, all)
	for _, size := range []int{9, 100} {
		alone := pick(all, func(s series) bool { return s.size == size && s.kind == ceiling })
		printRates(t, fmt.Sprintf("batches of %d spans, to a collector that only answers 202", size), "relays", "collector", alone)
	}
	for _, trial := range trials {
		trial.write(t)
	}
	return t.Flush()
}

// appendTable adds a table; one with the head of the last goes on with its rows.
func appendTable(all []table, next table) []table {
	if len(all) > 0 && slices.Equal(all[len(all)-1][0], next[0]) {
		all[len(all)-1] = append(all[len(all)-1], next[1:]...)
		return all
	}
	return append(all, next)
}

func (rows table) write(t *tabwriter.Writer) {
	row(t, rows[0]...)
	row(t, append([]string{"---"}, slices.Repeat([]string{"--:"}, len(rows[0])-1)...)...)
	for _, cells := range rows[1:] {
		row(t, cells...)
	}
	fmt.Fprintln(t)
}

func pick(all []series, want func(series) bool) []series {
	return slices.DeleteFunc(slices.Clone(all), func(s series) bool { return !want(s) })
}

func printRates(t *tabwriter.Writer, title, sender, collector string, rows []series) {
	if len(rows) == 0 {
		return
	}
	row(t, title, "spans/s", "least … most", "CPU s per million spans: "+sender, collector, "Kafka", "relay's memory, MB", "cores used by others")
	row(t, "---", "--:", "--:", "--:", "--:", "--:", "--:", "--:")
	for _, s := range rows {
		rates := s.sorted(result.rate)
		row(t, s.label, count(s.rate()), count(rates[0])+" … "+count(rates[len(rates)-1]),
			seconds(s.median(func(r result) float64 { return r.perMillion(r.cpu.sender) })),
			seconds(s.median(func(r result) float64 { return r.perMillion(r.cpu.collector) })),
			seconds(s.median(func(r result) float64 { return r.perMillion(r.cpu.kafka) })),
			megabytes(s), fmt.Sprintf("%.1f", s.median(result.others)))
	}
	fmt.Fprintln(t)
}

func printRatios(t *tabwriter.Writer, all []series) {
	rows := []struct {
		label string
		to    kind
	}{
		{"relay / best direct post", posting},
		{"relay / Jaeger's ingester, marks before storing", ingesting},
		{"relay / Jaeger's ingester, marks after storing", ingestingAfter},
	}
	if best(all, 9, relaying)+best(all, 100, relaying) == 0 {
		return
	}
	row(t, "ratio", "batches of 9", "batches of 100")
	row(t, "---", "--:", "--:")
	for _, r := range rows {
		row(t, r.label, ratio(all, 9, r.to), ratio(all, 100, r.to))
	}
	fmt.Fprintln(t)
}

// ratio is that of the medians, to the best one of a kind.
func ratio(all []series, size int, to kind) string {
	relay, other := best(all, size, relaying), best(all, size, to)
	if relay == 0 || other == 0 {
		return "–" // not measured
	}
	return fmt.Sprintf("%.2f", relay/other)
}

func best(all []series, size int, k kind) (rate float64) {
	for _, s := range all {
		if s.size == size && s.kind == k {
			rate = max(rate, s.rate())
		}
	}
	return rate
}

func row(t *tabwriter.Writer, cells ...string) {
	fmt.Fprintln(t, "| "+strings.Join(cells, "\t| ")+"\t|")
}

// count shows a number of spans to the hundred, in groups of three digits.
func count(n float64) string {
	digits := fmt.Sprintf("%.0f00", n/100)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + " " + digits[i:]
	}
	return digits
}

// seconds is empty for what took no part.
func seconds(s float64) string {
	if s < 0.005 {
		return ""
	}
	return fmt.Sprintf("%.2f", s)
}

// megabytes is the most of all rounds.
func megabytes(s series) string {
	peak := uint64(0)
	for _, r := range s.results {
		peak = max(peak, r.peak)
	}
	if peak == 0 {
		return ""
	}
	return fmt.Sprint(peak / 1e6)
}
