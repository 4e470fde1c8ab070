package replay

import (
	"fmt"
	"strconv"
	"time"

	"fault-tolerant-tracing/services/internal/payload"
	"fault-tolerant-tracing/tracing/otlp"
)

// Filter says which spans are wanted. The zero Filter wants all.
type Filter struct {
	From, To time.Time // of the record's timestamp, To excluded; zero: no limit
	Service  string    // name of the service; "": any
	Trace    TraceID   // zero: any
	Format   payload.Setting
}

// apply returns the value of a record with the spans that are wanted; false: nothing
// of it is. A value that holds no spans is wanted only if all are.
func (f Filter) apply(r Record) (value []byte, wanted bool) {
	switch {
	case r.Time.Before(f.From) || !f.To.IsZero() && !r.Time.Before(f.To):
		return nil, false
	case f.Service == "" && f.Trace == TraceID{}:
		return r.Value, true
	}
	held, err := f.Format.Parse(r.Value)
	if err != nil {
		return nil, false
	}
	value, spans := held.Select(func(service string, trace TraceID) bool {
		return (f.Service == "" || service == f.Service) && (f.Trace == TraceID{} || trace == f.Trace)
	})
	return value, spans > 0
}

// TraceID is the id of a trace.
type TraceID = otlp.TraceID

// ParseTraceID reads an id as Jaeger's UI shows it: up to 32 hexadecimal digits,
// or up to 16 for 64 bits. Leading zeros do not matter.
func ParseTraceID(text string) (TraceID, error) {
	high, low := "0", text
	if len(text) > 16 {
		high, low = text[:len(text)-16], text[len(text)-16:]
	}
	h, errHigh := strconv.ParseUint(high, 16, 64)
	l, errLow := strconv.ParseUint(low, 16, 64)
	id := otlp.NewTraceID(int64(h), int64(l))
	if len(text) > 32 || errHigh != nil || errLow != nil || id == (TraceID{}) {
		return TraceID{}, fmt.Errorf("%q is no trace id: it has up to 32 hexadecimal digits, not all of them 0", text)
	}
	return id, nil
}
