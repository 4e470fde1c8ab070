package main

import (
	"context"

	"golang.org/x/time/rate"
)

// newLimiter lets so many spans a second through; 0: as many as there are.
func newLimiter(spansPerSecond int) *rate.Limiter {
	if spansPerSecond == 0 {
		return rate.NewLimiter(rate.Inf, 0)
	}
	return rate.NewLimiter(rate.Limit(spansPerSecond), max(spansPerSecond, maxSpans))
}

// wait blocks until so many spans may go, or ctx ends. A batch may have more of
// them than the limiter lets through at once.
func wait(ctx context.Context, limit *rate.Limiter, spans int) error {
	if limit.Limit() == rate.Inf {
		return nil
	}
	for spans > 0 {
		n := min(spans, limit.Burst())
		if err := limit.WaitN(ctx, n); err != nil {
			return err
		}
		spans -= n
	}
	return nil
}
