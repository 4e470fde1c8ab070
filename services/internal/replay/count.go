package replay

import (
	"context"
)

// maxTraces is how many traces are told apart: about 50 MB of memory.
const maxTraces = 1_000_000

// Counts is how much there is to send.
type Counts struct {
	Records, Spans int64
	Traces         int64 // at least, if there are MoreTraces
	MoreTraces     bool
	NoBatch        int64 // records among them that hold no batch of spans
	Services       map[string]ServiceCounts
}

// ServiceCounts is how much there is of one service.
type ServiceCounts struct{ Records, Spans int64 }

// Count reads source and counts what filter wants of it; it sends nothing. done
// is as for Run.
func Count(ctx context.Context, source Source, filter Filter, done func(records int64)) (Counts, error) {
	counts := Counts{Services: map[string]ServiceCounts{}}
	traces := map[TraceID]struct{}{}
	err := source.Read(ctx, func(record Record) error {
		done(1)
		if wanted, ok := filter.apply(record); ok {
			counts.add(wanted, traces)
		}
		return ctx.Err()
	})
	counts.Traces = int64(len(traces))
	return counts, err
}

func (c *Counts) add(i item, traces map[TraceID]struct{}) {
	c.Records++
	if !i.isBatch {
		c.NoBatch++
		return
	}
	c.Spans += int64(i.frame.Spans())
	service := c.Services[i.frame.Service()]
	service.Records++
	service.Spans += int64(i.frame.Spans())
	c.Services[i.frame.Service()] = service
	i.frame.Select(func(high, low int64) bool {
		id := TraceID{high, low}
		if _, known := traces[id]; !known && len(traces) >= maxTraces {
			c.MoreTraces = true
		} else {
			traces[id] = struct{}{}
		}
		return false
	})
}
