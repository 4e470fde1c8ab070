package replay

import (
	"fmt"
	"strconv"
	"time"

	"fault-tolerant-tracing/tracing/batch"
)

// Filter says which spans are wanted. The zero Filter wants all.
type Filter struct {
	From, To time.Time // of the record's timestamp, To excluded; zero: no limit
	Service  string    // name of the service; "": any
	Trace    TraceID   // zero: any
}

// item is what is wanted of a record.
type item struct {
	record  Record
	value   []byte
	isBatch bool
	frame   batch.Frame // if it is one
}

// apply returns what is wanted of a record; false: nothing. A value that is no
// batch has no spans, and is wanted only if all are: Jaeger is to say what it is.
func (f Filter) apply(r Record) (item, bool) {
	if len(r.Value) == 0 || r.Time.Before(f.From) || !f.To.IsZero() && !r.Time.Before(f.To) {
		return item{}, false
	}
	frame, err := batch.Parse(r.Value)
	if err != nil {
		return item{record: r, value: r.Value}, f.Service == "" && f.Trace == TraceID{}
	}
	if f.Service != "" && frame.Service() != f.Service {
		return item{}, false
	}
	if f.Trace == (TraceID{}) {
		return item{record: r, value: r.Value, isBatch: true, frame: frame}, true
	}
	value, spans := frame.Select(func(high, low int64) bool { return TraceID{high, low} == f.Trace })
	if spans == 0 {
		return item{}, false
	}
	frame, _ = batch.Parse(value) // what Select returns is a batch
	return item{record: r, value: value, isBatch: true, frame: frame}, true
}

// TraceID is the id of a trace, as in jaeger.thrift.
type TraceID struct{ High, Low int64 }

// ParseTraceID reads an id as Jaeger's UI shows it: up to 32 hexadecimal digits,
// or up to 16 for 64 bits. Leading zeros do not matter.
func ParseTraceID(text string) (TraceID, error) {
	high, low := "0", text
	if len(text) > 16 {
		high, low = text[:len(text)-16], text[len(text)-16:]
	}
	h, errHigh := strconv.ParseUint(high, 16, 64)
	l, errLow := strconv.ParseUint(low, 16, 64)
	id := TraceID{int64(h), int64(l)}
	if len(text) > 32 || errHigh != nil || errLow != nil || id == (TraceID{}) {
		return TraceID{}, fmt.Errorf("%q is no trace id: it has up to 32 hexadecimal digits, not all of them 0", text)
	}
	return id, nil
}
