package verdict

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Span is one span as both tracing-topic and Jaeger's query API can show it. Values are text that starts with their type
// ("int64 6"), so that 6 and "6" differ.
type Span struct {
	TraceID   string   // hex, without leading zeros
	ID        string   // the same
	ParentID  string   // the same; "" for the root
	Links     []string // references besides the one to the parent
	Service   string
	Operation string
	Start     int64 // microseconds since 1970
	Duration  int64 // microseconds
	Tags      map[string]string
	Process   map[string]string // the tags of the process; not to be changed
	Logs      []Log             // in the order of time
}

// Log is one event of a span.
type Log struct {
	Time   int64 // microseconds since 1970
	Fields map[string]string
}

// String names the span for a person.
func (s Span) String() string {
	return fmt.Sprintf("span %s (%s: %s) of trace %s", s.ID, s.Service, s.Operation, s.TraceID)
}

type spanKey struct{ trace, span string }

func (s Span) key() spanKey { return spanKey{s.TraceID, s.ID} }

// Differences names each field in which got, what Jaeger shows, differs from want, what was written. It is empty when they agree.
func Differences(want, got Span) []string {
	var diff []string
	compare := func(field string, want, got any) {
		if want != got {
			diff = append(diff, fmt.Sprintf("%s is %v and was written as %v", field, got, want))
		}
	}
	compare("parent", want.ParentID, got.ParentID)
	compare("list of references", fmt.Sprint(want.Links), fmt.Sprint(got.Links))
	compare("service", want.Service, got.Service)
	compare("operation", want.Operation, got.Operation)
	compare("start", want.Start, got.Start)
	compare("duration", want.Duration, got.Duration)
	diff = append(diff, mapDifferences("tag", want.Tags, got.Tags)...)
	diff = append(diff, mapDifferences("process tag", want.Process, got.Process)...)
	compare("number of logs", len(want.Logs), len(got.Logs))
	for i := range min(len(want.Logs), len(got.Logs)) {
		compare(fmt.Sprintf("time of log %d", i), want.Logs[i].Time, got.Logs[i].Time)
		diff = append(diff, mapDifferences(fmt.Sprintf("log %d, field", i), want.Logs[i].Fields, got.Logs[i].Fields)...)
	}
	return diff
}

func mapDifferences(field string, want, got map[string]string) []string {
	var diff []string
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if value, ok := got[key]; !ok {
			diff = append(diff, fmt.Sprintf("%s %s is missing", field, key))
		} else if value != want[key] {
			diff = append(diff, fmt.Sprintf("%s %s is %s and was written as %s", field, key, value, want[key]))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[key]; !ok {
			diff = append(diff, fmt.Sprintf("%s %s was not written", field, key))
		}
	}
	return diff
}

// plainID brings the ways in which an id is written (16 digits, 32 digits, no leading zeros) to one.
func plainID(hex string) string { return strings.ToLower(strings.TrimLeft(hex, "0")) }
