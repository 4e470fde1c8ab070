// Command smoke checks a running system from end to end: every number on number-topic has its answer, its whole trace is in
// Jaeger, and its document is in the store. It only reads, and writes what it finds to standard output.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"fault-tolerant-tracing/services/internal/connect"
	"fault-tolerant-tracing/services/internal/jaeger"
	"fault-tolerant-tracing/services/internal/service"
	"fault-tolerant-tracing/services/internal/verdict"
)

const doc = `smoke checks a running system from end to end, and exits 0 when all is well: every
number on number-topic has its answer, its whole trace is in Jaeger, and its
document is in the store, if the sink that writes it is installed. Spans that a
process took along when it was killed are no fault of the system: smoke says how
many, and of which service. It reads only, and waits for what is on its way, but
no longer than PATIENCE while nothing comes.`

const (
	mostKept = 48 << 20 // bytes, of the 128 MiB that the container has
	askAgain = 200 * time.Millisecond
	settled  = 5 * time.Second // a span takes 1 s to the topic, and less to Jaeger
)

func main() { os.Exit(service.Main("smoke", doc, run)) }

func run(ctx context.Context, cfg config, _ *slog.Logger) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(cfg.Patience, func() { cancel(fmt.Errorf("nothing new for %s", cfg.Patience)) })
	defer timer.Stop()
	progress := func() { timer.Reset(cfg.Patience) }

	query := jaeger.NewQuery(cfg.QueryURL.String())
	defer query.Close()
	first := cfg.Since > 0
	result, err := verdict.InShares(func(share verdict.Share) (verdict.Result, error) {
		checker := verdict.New(cfg.Brokers, cfg.Brokers, query)
		checker.Share, checker.Most = share, mostKept
		checker.Progress = changes(progress)
		return judge(ctx, checker, func(result verdict.Result) {
			if first && result.Example != "" {
				fmt.Printf("first complete trace %d s after the start\n", time.Now().Unix()-cfg.Since)
				first = false
			}
		})
	})
	if err != nil {
		return err
	}
	fmt.Print(report(result))
	s := store{url: cfg.StoreURL.String(), brokers: cfg.Brokers, connect: connect.NewClient(cfg.ConnectURL.String()), progress: progress}
	return s.check(ctx)
}

// changes returns a [verdict.Checker.Progress] that calls progress when something has changed.
func changes(progress func()) func(whole, numbers, steps int) {
	before := -1
	return func(_, _, steps int) {
		if steps > before {
			progress()
		}
		before = steps
	}
}

// judge waits until nothing is missing but what was never sent, and what was never sent has not changed for a while. It calls seen with all
// that it finds.
func judge(ctx context.Context, checker *verdict.Checker, seen func(verdict.Result)) (result verdict.Result, err error) {
	var before string
	var since time.Time
	var full error
	err = until(ctx, func() error {
		result, err = checker.Check(ctx)
		if errors.Is(err, verdict.ErrFull) {
			full = err
			return nil
		}
		if err != nil {
			return err
		}
		seen(result)
		found := result.String()
		if found != before {
			before, since = found, time.Now()
		}
		if result.NothingLost() || result.OnlyNotSent() && time.Since(since) >= settled {
			return nil
		}
		return fmt.Errorf("numbers %d/%d arrived; %s; %v", result.NumbersArrived, result.NumbersFed, result,
			result.Problems[:min(3, len(result.Problems))])
	})
	return result, errors.Join(err, full)
}

// report tells what was found, and what explains that not every trace is whole.
func report(r verdict.Result) string {
	text := fmt.Sprintf("numbers %d/%d arrived\n%s\n", r.NumbersArrived, r.NumbersFed, r)
	if r.NotSent > 0 {
		text += fmt.Sprintf("%d of them by random: another took its place before it had sent them, as after kill -9\n", r.NotSent)
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
			return errors.Join(context.Cause(ctx), last)
		}
		last = err
		select {
		case <-ctx.Done():
		case <-time.After(askAgain):
		}
	}
}
