package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dustin/go-humanize/english"

	"fault-tolerant-tracing/services/internal/control"
	"fault-tolerant-tracing/services/internal/verdict"
)

// judgeTimeout is how long no trace may become whole in Jaeger before the spans that are missing count as lost.
const judgeTimeout = 30 * time.Second

// shownProblems is how many problems are told; the others are only counted.
const shownProblems = 10

// judge compares. With the relay, it waits for what may still be on its way, until nothing is lost: the relay's own trace of the
// outage, for one. Sent straight to Jaeger, nothing is: what was not taken is gone.
func (d *demo) judge(ctx context.Context) (verdict.Result, error) {
	if !d.withRelay() {
		return d.checker().Check(ctx)
	}
	var r verdict.Result
	err := d.until(ctx, judgeTimeout, d.found(&r))
	if ctx.Err() == nil && r.NumbersFed > 0 {
		err = nil // the time is up: then this is the verdict
	}
	return r, err
}

// tell prints the verdict and returns whether it is what the transport promises: no loss with the relay, and one without.
func (d *demo) tell(r verdict.Result) bool {
	d.mu.Lock()
	d.counted = &control.Verdict{At: time.Now(), Numbers: r.NumbersArrived, Spans: r.SpansExpected, Lost: r.Lost, OnTopic: r.TopicSpans}
	d.mu.Unlock()
	d.screen.line("numbers %d/%d arrived", r.NumbersArrived, r.NumbersFed)
	if d.withRelay() {
		d.screen.line("tracing-topic: %d spans, %d missing in Jaeger, %d changed there", r.TopicSpans, r.TopicMissing, r.TopicDiffer)
	}
	if r.SetAside > 0 {
		d.screen.line("tracing-dlq: %d set aside, which Jaeger cannot take", r.SetAside)
	}
	ok := r.NothingLost()
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
	case d.withRelay() && !r.Complete():
		d.screen.line("%s more: what a service had begun was done again", english.Plural(r.TracesExpected-r.Traces, "trace holds", "traces hold"))
	case d.withRelay():
		d.screen.line("every trace is complete in Jaeger, and every field is as the services wrote it")
	case ok:
		d.screen.line("that is what an outage costs when spans go straight to Jaeger; `make demo` shows the other way")
	default:
		d.screen.line("nothing was lost, though Jaeger was down: the outage missed the spans, please run it again")
	}
	return ok
}

// linger stays up, if that is wanted, until ctx ends, and says what there is to see and to try.
func (d *demo) linger(ctx context.Context) error {
	if !d.stay {
		return nil
	}
	d.up.Store(true)
	d.telling.Store(false)
	d.screen.heading("Now you")
	ui := httpURL(d.ports.JaegerQuery)
	if d.withRelay() {
		d.screen.line("control room   %s  what flows, and buttons to stop it", httpURL(d.ports.Console))
	}
	d.screen.line("Jaeger UI      %s/search?service=stream", ui)
	if n := d.example; n != nil {
		what := "written while Jaeger was down"
		if !d.withRelay() {
			what = "gone: its spans were sent while Jaeger was down"
		}
		d.screen.line("a trace        %s/trace/%s  number %d, %s", ui, n.TraceID, n.Value, what)
	}
	if d.withRelay() {
		d.screen.line("the outage     %s/search?service=relay&operation=outage  the relay's own trace of it", ui)
		d.screen.line("relay status   %s/status", httpURL(d.ports.Relay))
	}
	d.screen.line("")
	d.screen.line("bin/demo jaeger stop && bin/demo send 6 7 hello && bin/demo jaeger start")
	d.screen.line("bin/demo kill sentence    or any part, or kill it yourself: it is started again")
	d.screen.line("bin/demo verdict          is anything lost?")
	d.screen.line("")
	d.screen.line("%s", bold("Ctrl-C stops everything"))
	<-ctx.Done()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
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
