package verdict

import (
	"fmt"
	"slices"
	"strconv"
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

func (s Span) step() step { return step{s.Service, s.Operation} }

// fields calls each with what is compared of a span besides its id: names and values, in no particular order.
func (s Span) fields(each func(name, value string)) {
	each("parent", s.ParentID)
	each("list of references", fmt.Sprint(s.Links))
	each("service", s.Service)
	each("operation", s.Operation)
	each("start", strconv.FormatInt(s.Start, 10))
	each("duration", strconv.FormatInt(s.Duration, 10))
	for key, value := range s.Tags {
		each("tag "+key, value)
	}
	for key, value := range s.Process {
		each("process tag "+key, value)
	}
	for i, log := range s.Logs {
		each(fmt.Sprint("time of log ", i), strconv.FormatInt(log.Time, 10))
		for key, value := range log.Fields {
			each(fmt.Sprintf("log %d, field %s", i, key), value)
		}
	}
}

// digest is the same for two spans with one id between which there are no [Differences].
func (s Span) digest() (sum uint64) {
	sum = digest(s.key())
	s.fields(func(name, value string) { sum += digest([2]string{name, value}) })
	return sum
}

// Differences names each field in which got, what Jaeger shows, differs from want, what was written. It is empty when they agree.
func Differences(want, got Span) (diff []string) {
	shown := map[string]string{}
	got.fields(func(name, value string) { shown[name] = value })
	want.fields(func(name, value string) {
		if now, ok := shown[name]; !ok {
			diff = append(diff, name+" is missing")
		} else if now != value {
			diff = append(diff, fmt.Sprintf("%s is %s and was written as %s", name, now, value))
		}
		delete(shown, name)
	})
	for name := range shown {
		diff = append(diff, name+" was not written")
	}
	slices.Sort(diff)
	return diff
}

// plainID brings the ways in which an id is written (16 digits, 32 digits, no leading zeros) to one.
func plainID(hex string) string { return strings.ToLower(strings.TrimLeft(hex, "0")) }
