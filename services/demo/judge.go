package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fault-tolerant-tracing/services/internal/verdict"
)

// judgeTimeout is how long spans may still take to be in Jaeger before they count as lost.
const judgeTimeout = 30 * time.Second

// shownProblems is how many problems are told; the others are only counted.
const shownProblems = 10

// judge compares. With the relay, it waits for what may still be on its way: the relay's own trace of the outage, for one. Sent
// straight to Jaeger, nothing is: what was not taken is gone.
func (d *demo) judge(ctx context.Context) (verdict.Result, error) {
	if !d.withRelay() {
		return verdict.Check(ctx, d.brokers(), d.query, d.fed)
	}
	var r verdict.Result
	err := d.until(ctx, judgeTimeout, d.complete(&r))
	if ctx.Err() == nil && r.NumbersFed > 0 {
		err = nil // the time is up: then this is the verdict
	}
	return r, err
}

// tell prints the verdict and returns whether it is what the transport promises.
func (d *demo) tell(r verdict.Result) bool {
	d.screen.line("numbers %d/%d arrived", r.NumbersArrived, r.NumbersFed)
	if d.withRelay() {
		d.screen.line("tracing-topic: %d spans, %d missing in Jaeger, %d changed there", r.TopicSpans, r.TopicMissing, r.TopicDiffer)
	}
	ok := r.Complete()
	if !d.withRelay() {
		ok = r.Lost > 0
	}
	paint := green
	if r.Lost > 0 || !ok {
		paint = red
	}
	d.screen.line("%s", bold(paint(r.String())))
	switch {
	case d.withRelay() && !ok:
		for _, p := range r.Problems[:min(len(r.Problems), shownProblems)] {
			d.screen.line("%s", p)
		}
		if more := len(r.Problems) - shownProblems; more > 0 {
			d.screen.line("and %d more", more)
		}
	case d.withRelay():
		d.screen.line("every trace is whole in Jaeger, field by field what the services wrote")
	case ok:
		d.screen.line("that is what an outage costs when spans go straight to Jaeger; `make demo` shows the other way")
	default:
		d.screen.line("nothing was lost, though Jaeger was down: the outage missed the spans, please run it again")
	}
	return ok
}

// linger stays up for a look around, if that is wanted, until ctx ends. example is the id of a trace to look at, or "".
func (d *demo) linger(ctx context.Context, example string) error {
	if !d.stay {
		return nil
	}
	d.screen.heading("Look around")
	d.screen.line("Jaeger UI     %s/search?service=stream", httpURL(d.ports.JaegerQuery))
	if example != "" {
		d.screen.line("one trace     %s/trace/%s", httpURL(d.ports.JaegerQuery), example)
	}
	if d.withRelay() {
		d.screen.line("relay status  %s/status", httpURL(d.ports.Relay))
	}
	d.screen.line("%s", bold("Ctrl-C stops everything"))
	<-ctx.Done()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause // a service ended
	}
	return nil
}

// withProblem adds the first thing that is wrong to an error.
func withProblem(err error, r verdict.Result) error {
	if len(r.Problems) == 0 {
		return err
	}
	return fmt.Errorf("%w; %s", err, r.Problems[0])
}
