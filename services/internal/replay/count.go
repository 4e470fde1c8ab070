package replay

import (
	"context"

	"fault-tolerant-tracing/services/internal/payload"
)

// maxTraces is how many traces are told apart: about 50 MB of memory.
const maxTraces = 1_000_000

// Counts is how much there is to send.
type Counts struct {
	Records, Spans int64
	Traces         int64 // at least, if there are MoreTraces
	MoreTraces     bool
	NoBatch        int64 // records among them that hold no spans
	Services       map[string]ServiceCounts
}

// ServiceCounts is how much there is of one service. A record may hold spans of several.
type ServiceCounts struct{ Records, Spans int64 }

// Count reads source and counts what filter wants of it; it sends nothing. done
// is told how many records have been read, those that are not wanted too.
func Count(ctx context.Context, source Source, filter Filter, done func(records int64)) (Counts, error) {
	counts := Counts{Services: map[string]ServiceCounts{}}
	traces := map[TraceID]struct{}{}
	err := source.Read(ctx, func(record Record) error {
		done(1)
		if value, wanted := filter.apply(record); wanted && len(value) > 0 {
			counts.add(filter.Format, value, traces)
		}
		return ctx.Err()
	})
	counts.Traces = int64(len(traces))
	return counts, err
}

func (c *Counts) add(f payload.Setting, value []byte, traces map[TraceID]struct{}) {
	c.Records++
	held, err := f.Parse(value)
	if err != nil {
		c.NoBatch++
		return
	}
	c.Spans += int64(held.Len())
	services := map[string]int64{} // spans of each
	held.Select(func(service string, id TraceID) bool {
		services[service]++
		if _, known := traces[id]; !known && len(traces) >= maxTraces {
			c.MoreTraces = true
		} else {
			traces[id] = struct{}{}
		}
		return false
	})
	for name, spans := range services {
		service := c.Services[name]
		service.Records++
		service.Spans += spans
		c.Services[name] = service
	}
}
