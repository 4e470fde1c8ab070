package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"fault-tolerant-tracing/services/internal/verdict"
)

// shownAnswers is how many of the numbers that were sent are told of one by one.
const shownAnswers = 5

const maxRate = 100_000 // numbers a second

// commands are those that talk to a running demo.
func commands(code *int) []*cobra.Command {
	var many, rate int
	kill := &cobra.Command{
		Use:   "kill PART",
		Short: "Kill a part as kill -9 does; it is started again by itself",
		Args:  cobra.ExactArgs(1),
		RunE:  attachedTo(func(ctx context.Context, a *attached, args []string) error { return a.change(ctx, args[0], "kill") }),
	}
	send := &cobra.Command{
		Use:     "send NUMBER... | send --count N [--rate N]",
		Short:   "Send numbers, or anything else, and say what became of them",
		Example: "  bin/demo send 6 7 hello\n  bin/demo send --count 1000 --rate 50",
		Args: func(_ *cobra.Command, args []string) error {
			if (len(args) == 0) == (many == 0) || many < 0 {
				return errors.New("want numbers, or --count above 0")
			}
			if rate < 0 || rate > maxRate {
				return fmt.Errorf("--rate %d: want 0 to %d", rate, maxRate)
			}
			return nil
		},
		RunE: attachedTo(func(ctx context.Context, a *attached, args []string) error {
			if many > 0 {
				return a.sendMany(ctx, many, rate)
			}
			return a.send(ctx, args)
		}),
	}
	send.Flags().IntVar(&many, "count", 0, "send so many numbers, counting on from the largest so far")
	send.Flags().IntVar(&rate, "rate", 0, "so many a second; 0: as fast as they go")
	poison := &cobra.Command{
		Use:   "poison",
		Short: "Write a record to tracing-topic that holds no spans, and a number behind it",
		Args:  cobra.NoArgs,
		RunE:  attachedTo(func(ctx context.Context, a *attached, _ []string) error { return a.poison(ctx) }),
	}
	count := &cobra.Command{
		Use:   "verdict",
		Short: "Count again, now: is every span of every number in Jaeger? Exit code 1 if not",
		Args:  cobra.NoArgs,
		RunE: attachedTo(func(ctx context.Context, a *attached, _ []string) error {
			ok, err := a.verdict(ctx)
			if !ok {
				*code = exitFailed
			}
			return err
		}),
	}
	status := &cobra.Command{
		Use:   "status",
		Short: "Say what runs, and how many records wait for Jaeger",
		Args:  cobra.NoArgs,
		RunE:  attachedTo(func(ctx context.Context, a *attached, _ []string) error { return a.status(ctx) }),
	}
	return []*cobra.Command{partCommand("jaeger", "Jaeger"), partCommand("kafka", "Kafka"), kill, send, poison, count, status}
}

// partCommand is that of a part which may be stopped on purpose.
func partCommand(part, title string) *cobra.Command {
	return &cobra.Command{
		Use:       part + " stop|start|kill",
		Short:     "Stop " + title + ", start it again, or kill it as kill -9 does: then it is started again by itself",
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"stop", "start", "kill"},
		RunE:      attachedTo(func(ctx context.Context, a *attached, args []string) error { return a.change(ctx, part, args[0]) }),
	}
}

// attachedTo runs a command on the demo that runs in the repository.
func attachedTo(run func(context.Context, *attached, []string) error) func(*cobra.Command, []string) error {
	return func(_ *cobra.Command, args []string) error {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		d, err := newDemo()
		if err != nil {
			return err
		}
		a, err := attach(ctx, d)
		if err != nil {
			return err
		}
		return run(ctx, a, args)
	}
}

// change stops, starts or kills a part, and says so.
func (a *attached) change(ctx context.Context, part, action string) error {
	if err := a.do(ctx, part, action); err != nil {
		return err
	}
	switch action {
	case "stop":
		a.screen.line("%s is stopped, until `bin/demo %s start`", part, part)
		if a.withRelay() {
			a.screen.line("how the relay takes it: %s", a.relayURL())
		}
	case "start":
		a.screen.line("%s is started again", part)
	case "kill":
		a.screen.line("%s is killed, and is started again in a moment: see `bin/demo status`", part)
	}
	return nil
}

func (a *attached) relayURL() string { return httpURL(a.ports.Relay) + "/status" }

// send sends values and says what became of each.
func (d *demo) send(ctx context.Context, values []string) error {
	var numbers []int64
	for _, value := range values {
		if n, err := strconv.ParseInt(value, 10, 64); err == nil {
			numbers = append(numbers, n)
		} else {
			d.screen.line("%.60q is no number of 64 bits: what stream does not take lies on number-dlq", value)
		}
	}
	fed, _, err := d.fedNow(ctx)
	if err != nil {
		return err
	}
	if err := feed(ctx, d.brokers()[0], values); err != nil {
		return err
	}
	return d.follow(ctx, fed, len(numbers))
}

func (d *demo) sendMany(ctx context.Context, count, rate int) error {
	fed, largest, err := d.fedNow(ctx)
	if err != nil {
		return err
	}
	numbers := moreNumbers(largest, count)
	start, sent := time.Now(), 0
	for tenths := 1; sent < count; tenths++ {
		next := count
		if rate > 0 {
			next = min(count, (rate*tenths+9)/10)
		}
		if err := feed(ctx, d.brokers()[0], texts(numbers[sent:next])); err != nil {
			return err
		}
		if sent = next; sent < count {
			d.screen.waiting("%d of %d are sent", sent, count)
			select {
			case <-time.After(time.Until(start.Add(time.Duration(tenths) * time.Second / 10))):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	text := english.Plural(count, fmt.Sprintf("number, %d, is sent", numbers[0]), fmt.Sprintf("numbers, %d … %d, are sent", numbers[0], numbers[count-1]))
	if took := rounded(time.Since(start)); took > 0 {
		text += fmt.Sprint(", in ", took)
	}
	d.screen.line("%s", text)
	return d.follow(ctx, fed, count)
}

// follow waits until so many numbers that are fed have gone all the way, and shows the traces of the first ones.
func (d *demo) follow(ctx context.Context, fed *verdict.Numbers, count int) error {
	if err := d.until(ctx, flowTimeout, arrived(fed, count)); err != nil {
		return err
	}
	slices.SortFunc(fed.Fed, func(a, b *verdict.Number) int { return cmp.Compare(a.Value, b.Value) })
	for _, n := range fed.Fed[:min(len(fed.Fed), shownAnswers)] {
		d.screen.line("%d has arrived: %s/trace/%s", n.Value, httpURL(d.ports.JaegerQuery), n.TraceID)
	}
	if more := len(fed.Fed) - shownAnswers; more > 0 {
		d.screen.line("and %d more", more)
	}
	return nil
}

// poison writes a record that holds no spans, and a number behind it, and waits until it is set aside.
func (d *demo) poison(ctx context.Context) error {
	if !d.withRelay() {
		return errors.New("spans are sent straight to Jaeger here: nobody reads tracing-topic")
	}
	if err := d.awaitKafka(ctx); err != nil {
		return err
	}
	dead, err := d.letters(ctx)
	if err != nil {
		return err
	}
	if err := write(ctx, d.brokers()[0], "tracing-topic", []string{"poison, and no batch of spans"}); err != nil {
		return err
	}
	d.screen.line("a record without spans is written to tracing-topic, and a number behind it to number-topic")
	if err := d.sendMany(ctx, 1, 0); err != nil {
		return err
	}
	err = d.until(ctx, flowTimeout, func(ctx context.Context, progress func(string)) (bool, error) {
		progress("the relay has not set it aside yet")
		now, err := d.letters(ctx)
		return now > dead, err
	})
	if err != nil {
		return err
	}
	d.screen.line("the relay has set it aside: KAFKA_BROKERS=%s bin/relay dlq list", d.brokers()[0])
	return nil
}

// letters counts the records on tracing-dlq.
func (d *demo) letters(ctx context.Context) (count int, err error) {
	err = verdict.Scan(ctx, d.brokers(), func(*kgo.Record) error {
		count++
		return nil
	}, "tracing-dlq")
	return count, err
}

func (a *attached) status(ctx context.Context) error {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, p := range a.Parts {
		fmt.Fprintf(table, "   %s\t%s\n", p.Name, p.State)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if !a.withRelay() {
		return nil
	}
	s, err := a.relayStatus(ctx)
	if err != nil {
		a.screen.line("%v", err)
		return nil
	}
	a.screen.line("the relay is %s, %s: %s", s.State, s.waits(), a.relayURL())
	return nil
}
