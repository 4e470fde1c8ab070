package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/dustin/go-humanize/english"

	"fault-tolerant-tracing/services/internal/verdict"
)

const (
	// flowTimeout is how long no number and no span may arrive of those that are waited for. The first ones take about two seconds.
	flowTimeout = 90 * time.Second
	// flushTime is three times the interval after which a tracer sends what it has (1 s), so that no span waits in a process any more.
	flushTime = 3 * time.Second
	// quoteTimeout is how long the relay may take to write a line: it writes one a second and adds up the others.
	quoteTimeout = 2 * time.Second
	// toldAgain is how many numbers flow without Jaeger when the story is told again.
	toldAgain = 50
)

// story tells and runs the five parts. It returns whether the verdict is what the transport promises.
func (d *demo) story(ctx context.Context, numbers []int64) (bool, error) {
	d.screen.print("%s, transport %s; logs in %s", bold("Traces through an outage of Jaeger"), bold(string(d.transport)), d.shown(d.logs()))

	d.telling.Store(true)
	d.listen(ctx)
	d.screen.heading("Everything starts")
	if err := d.start(ctx); err != nil {
		return false, err
	}
	d.screen.heading("Data flows and traces appear")
	if err := d.flow(ctx, numbers); err != nil {
		return false, err
	}
	if err := d.appear(ctx); err != nil {
		return false, err
	}
	d.screen.heading("Jaeger is stopped, more numbers flow")
	if err := d.endure(ctx, moreNumbers(slices.Max(numbers), len(numbers))); err != nil {
		return false, err
	}
	d.screen.heading("Jaeger is started again")
	if err := d.recover(ctx); err != nil {
		return false, err
	}
	d.screen.heading("Verdict")
	result, err := d.judge(ctx)
	if err != nil {
		return false, err
	}
	ok := d.tell(result)
	return ok, d.linger(ctx)
}

// tellAgain takes Jaeger away once more while numbers flow, and counts everything.
func (d *demo) tellAgain(ctx context.Context) error {
	if !d.telling.CompareAndSwap(false, true) {
		return errors.New("the story is being told already")
	}
	defer d.telling.Store(false)
	d.screen.heading("Jaeger is stopped, more numbers flow")
	_, largest, err := d.fedNow(ctx)
	if err != nil {
		return err
	}
	if err := d.endure(ctx, moreNumbers(largest, toldAgain)); err != nil {
		return err
	}
	d.screen.heading("Jaeger is started again")
	if err := d.recover(ctx); err != nil {
		return err
	}
	d.screen.heading("Verdict")
	_, err = d.verdict(ctx)
	return err
}

// flow feeds numbers and waits until each has gone all the way.
func (d *demo) flow(ctx context.Context, numbers []int64) error {
	fed, _, err := d.fedNow(ctx)
	if err != nil {
		return err
	}
	if err := feed(ctx, d.brokers()[0], texts(numbers)); err != nil {
		return err
	}
	start := time.Now()
	if err := d.runOpenTelemetry(ctx); err != nil {
		return err
	}
	if err := d.until(ctx, flowTimeout, arrived(fed, len(numbers))); err != nil {
		return fmt.Errorf("wait for the numbers: %w", err)
	}
	if i := slices.IndexFunc(fed.Fed, func(n *verdict.Number) bool { return n.Value%2 == 0 }); i >= 0 {
		d.example = fed.Fed[i]
	}
	d.screen.line("%s, %d … %d, went through stream, sentence and answer in %s", english.Plural(len(numbers), "number", ""), slices.Min(numbers),
		slices.Max(numbers), rounded(time.Since(start)))
	if d.withOpenTelemetry() {
		d.screen.line("a client that knows only OpenTelemetry asked random for numbers too")
	}
	return nil
}

// fedNow returns what follows the numbers that are fed from now on, and the largest of those before, at least 0, as soon as
// Kafka answers.
func (d *demo) fedNow(ctx context.Context) (fed *verdict.Numbers, largest int64, err error) {
	if err := d.awaitKafka(ctx); err != nil {
		return nil, 0, err
	}
	fed = verdict.Follow(d.brokers())
	err = fed.Read(ctx)
	for _, n := range fed.Fed {
		largest = max(largest, n.Value)
	}
	fed.Fed = nil
	return fed, largest, err
}

// arrived asks, in the form that until wants, whether so many numbers are fed and have gone all the way.
func arrived(fed *verdict.Numbers, count int) func(context.Context, func(string)) (bool, error) {
	return func(ctx context.Context, progress func(string)) (bool, error) {
		if err := fed.Read(ctx); err != nil {
			return false, err
		}
		arrived := 0
		for _, n := range fed.Fed {
			if n.Arrived {
				arrived++
			}
		}
		progress(bar(arrived, count, "numbers have arrived"))
		return arrived >= count, nil
	}
}

// appear waits until Jaeger has every span of the numbers so far.
func (d *demo) appear(ctx context.Context) error {
	var r verdict.Result
	if err := d.until(ctx, flowTimeout, d.found(&r)); err != nil {
		return fmt.Errorf("wait for the traces: %w", withProblem(err, r))
	}
	d.screen.line("Jaeger has their %s, %s", english.Plural(r.Traces, "trace", ""), english.Plural(r.Spans, "span", ""))
	return nil
}

// checker checks everything anew.
func (d *demo) checker() *verdict.Checker { return verdict.New(d.brokers(), d.brokers(), d.query) }

// found asks, in the form that until wants, whether nothing is lost. r is what was found last.
func (d *demo) found(r *verdict.Result) func(context.Context, func(string)) (bool, error) {
	checker := d.checker()
	return func(ctx context.Context, progress func(string)) (bool, error) {
		checker.Progress = func(whole, numbers, steps int) {
			text := english.Plural(steps, "record or trace is looked at", "records and traces are looked at")
			if numbers > 0 { // all are read
				text = bar(whole, numbers, "traces are whole in Jaeger") + ", " + text
			}
			progress(text)
		}
		now, err := checker.Check(ctx)
		if err != nil {
			return false, err
		}
		*r = now
		return now.NothingLost(), nil
	}
}

// endure stops Jaeger and lets numbers flow without it.
func (d *demo) endure(ctx context.Context, numbers []int64) error {
	if err := d.stopJaeger(ctx); err != nil {
		return err
	}
	d.stoppedAt = time.Now()
	d.screen.line("Jaeger is down")
	endQuote := d.quote(ctx, holdingLine)
	defer endQuote()
	if err := d.flow(ctx, numbers); err != nil {
		return err
	}
	d.screen.waiting("the last spans are on their way")
	select { // what is in a process now is sent, or lost
	case <-time.After(flushTime):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if !d.withRelay() {
		d.screen.line("their spans were sent straight to Jaeger, which is not there")
		return nil
	}
	var s relayStatus
	err := d.until(ctx, flowTimeout, d.relayIs(func(now relayStatus) bool {
		s = now
		return s.State == "holding" && s.lag() > 0
	}))
	if err != nil {
		return fmt.Errorf("wait for the relay to hold: %w", err)
	}
	endQuote()
	d.screen.line("the relay is holding: %s on tracing-topic", english.Plural(int(s.lag()), "record with spans waits", "records with spans wait"))
	return nil
}

// recover starts Jaeger and waits until the relay has delivered what was held.
func (d *demo) recover(ctx context.Context) error {
	endQuote := d.quote(ctx, sendingLine)
	defer endQuote()
	if err := d.part("jaeger").Start(ctx); err != nil {
		return err
	}
	d.screen.line("Jaeger is back after %s", rounded(time.Since(d.stoppedAt)))
	if !d.withRelay() {
		return nil
	}
	start := time.Now()
	err := d.until(ctx, flowTimeout, d.relayIs(func(s relayStatus) bool { return s.State == "delivering" && s.lag() == 0 }))
	if err != nil {
		return fmt.Errorf("wait for the backlog: %w", err)
	}
	took := rounded(time.Since(start))
	endQuote()
	d.screen.line("the backlog has drained %s after Jaeger answered again", took)
	return nil
}

// relayIs asks, in the form that until wants, whether the relay is as wanted.
func (d *demo) relayIs(wanted func(relayStatus) bool) func(context.Context, func(string)) (bool, error) {
	return func(ctx context.Context, progress func(string)) (bool, error) {
		s, err := d.relayStatus(ctx)
		if err != nil {
			return false, err
		}
		progress(fmt.Sprintf("the relay is %s, %s", s.State, s.waits()))
		return wanted(s), nil
	}
}

// quote shows lines of the relay's log as they come, if there is a relay. The function it returns ends that, as soon as there was one;
// it may be called again.
func (d *demo) quote(ctx context.Context, pattern *regexp.Regexp) (end func()) {
	if !d.withRelay() {
		return func() {}
	}
	q := follow(ctx, d.log("relay"), pattern, func(line string) { d.screen.quote("relay", line) })
	return sync.OnceFunc(func() { q.end(quoteTimeout) })
}

func rounded(took time.Duration) time.Duration { return took.Round(100 * time.Millisecond) }
