// Command smoke checks a running system from end to end: every number on number-topic has its answer, its whole trace is in
// Jaeger, and its document is in the store. It only reads, and writes what it finds to standard output.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"time"

	"fault-tolerant-tracing/services/internal/connect"
	"fault-tolerant-tracing/services/internal/jaeger"
	"fault-tolerant-tracing/services/internal/printable"
	"fault-tolerant-tracing/services/internal/service"
	"fault-tolerant-tracing/services/internal/verdict"
)

const doc = `smoke checks a running system from end to end, and exits 0 when all is well: every
number on number-topic has its answer, its whole trace is in Jaeger, and its
document is in the store, if the sink that writes it is installed. Spans that a
process took along when it was killed are no fault of the system: smoke says how
many, and of which service. It reads only, and waits as long as PATIENCE for
what is still on its way.`

const (
	wholeChain = 9 // spans of an even number
	askAgain   = 200 * time.Millisecond
	settled    = 5 * time.Second // a span takes 1 s to the topic, and less to Jaeger
)

func main() { os.Exit(service.Main("smoke", doc, run)) }

func run(ctx context.Context, cfg config, _ *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, cfg.Patience)
	defer cancel()
	query := jaeger.NewQuery(cfg.QueryURL.String())
	defer query.Close()

	if cfg.Since > 0 {
		if err := firstTrace(ctx, cfg, query); err != nil {
			return err
		}
	}
	if err := everyTrace(ctx, cfg, query); err != nil {
		return err
	}
	s := store{url: cfg.StoreURL.String(), brokers: cfg.Brokers, connect: connect.NewClient(cfg.ConnectURL.String())}
	return s.check(ctx)
}

// firstTrace waits for one whole trace of an even number.
func firstTrace(ctx context.Context, cfg config, query *jaeger.Query) error {
	checker := verdict.New(cfg.Brokers, cfg.Brokers, query)
	err := until(ctx, func() error {
		result, err := checker.Check(ctx)
		if err != nil {
			return err
		}
		if result.Example != "" {
			trace, err := query.Trace(ctx, result.Example)
			if err == nil && len(trace.Spans) >= wholeChain {
				return nil
			}
		}
		return fmt.Errorf("%s; numbers %d/%d", result, result.NumbersArrived, result.NumbersFed)
	})
	if err != nil {
		return fmt.Errorf("no complete trace: %w", err)
	}
	fmt.Printf("first complete trace %d s after the start\n", time.Now().Unix()-cfg.Since)
	return nil
}

// everyTrace waits until nothing is missing but what was never sent, and what was never sent has not changed for a while.
func everyTrace(ctx context.Context, cfg config, query *jaeger.Query) error {
	var before string
	var since time.Time
	checker := verdict.New(cfg.Brokers, cfg.Brokers, query)
	return until(ctx, func() error {
		result, err := checker.Check(ctx)
		if err != nil {
			return err
		}
		found := result.String()
		if found != before {
			before, since = found, time.Now()
		}
		if result.NothingLost() || result.OnlyNotSent() && time.Since(since) >= settled {
			fmt.Print(report(result))
			return nil
		}
		return fmt.Errorf("numbers %d/%d arrived; %s; %v", result.NumbersArrived, result.NumbersFed, result,
			result.Problems[:min(3, len(result.Problems))])
	})
}

// report tells what was found, and what explains that not every trace is whole.
func report(r verdict.Result) string {
	text := fmt.Sprintf("numbers %d/%d arrived\n%s\n", r.NumbersArrived, r.NumbersFed, r)
	for _, service := range slices.Sorted(maps.Keys(r.NotSent)) {
		text += fmt.Sprintf("%d of them by %s: another took its place before it had sent them, as after kill -9\n", r.NotSent[service], printable.Line(service))
	}
	if r.Lost > 0 {
		text += fmt.Sprintf("all %d spans that came to tracing-topic are in Jaeger\n", r.TopicSpans)
	}
	if r.Lost == 0 && !r.Complete() {
		text += fmt.Sprintf("%d traces hold more: what was killed was done again\n", r.TracesExpected-r.Traces)
	}
	return text
}

// until calls try until it returns nil. When ctx ends, its error is the last one of try that is not about that end.
func until(ctx context.Context, try func() error) error {
	var last error
	for {
		err := try()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			if last == nil {
				last = err
			}
			return errors.Join(ctx.Err(), last)
		}
		last = err
		select {
		case <-ctx.Done():
		case <-time.After(askAgain):
		}
	}
}
