package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"

	"fault-tolerant-tracing/services/internal/deadletter"
	"fault-tolerant-tracing/services/internal/deliver"
	"fault-tolerant-tracing/services/internal/dispatch"
	"fault-tolerant-tracing/services/internal/meter"
	"fault-tolerant-tracing/services/internal/replay"
	"fault-tolerant-tracing/services/internal/scan"
	"fault-tolerant-tracing/services/internal/service"
)

const dlqRedriveDoc = `Redrive sends what was set aside to Jaeger again: all of it, or what is at these OFFSETs,
or has a text in its reason. What Jaeger still refuses is listed and set aside anew,
behind the rest, with the new reason and the time of the first one; so is, without being
sent, what holds no batch of spans or was cut. The exit code is then 1. Records are
removed from the dead-letter topic only when they and all before them are through, so
that nothing is lost whenever redrive is ended; what was sent and not yet removed is
then sent again by the next one. What is not chosen stays as it is, with another offset
if it lies before something chosen. What a backend has taken in part ("partly rejected")
is sent whole again, and probably rejected in part again: look at it, and drop it.

It takes what is on the dead-letter topic when it starts. Jaeger's absence is waited
out, until Ctrl-C, unless it has never answered: then 10 seconds.

With --topic, records go back to the topic that they came from, with the key, value and
headers that they had, for the service to read them again.`

type redriveConfig struct {
	Letters dlqConfig
	Backend backend
}

func dlqRedriveCommand() *cobra.Command {
	var to endpointFlags
	var reason string
	var dryRun bool
	cmd := &cobra.Command{
		Use: "redrive [OFFSET...]", Short: "Send what was set aside again, and remove what is through", Long: dlqRedriveDoc,
		Example: "relay dlq redrive --dry-run\nrelay dlq redrive --endpoint http://other:4318/v1/traces\n" +
			"relay dlq redrive --reason 'jaeger answered 413'\nrelay dlq redrive 3 7 --topic number-dlq",
		Args: cobra.ArbitraryArgs,
	}
	topic := topicFlag(cmd.Flags())
	cmd.Flags().StringVar(&reason, "reason", "", "only what has this `text` in the reason that relay dlq list shows")
	to.add(cmd.Flags())
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "count what would be sent, send and remove nothing")
	return service.Command(cmd, func(ctx context.Context, cfg redriveConfig, args []string) error {
		chosen, err := newChoice(args, reason)
		if err != nil {
			return err
		}
		l := cfg.Letters.letters(*topic)
		switch {
		case dryRun:
			return redriveDry(ctx, l, chosen, cmd.OutOrStdout())
		case !l.spans:
			return redriveBack(ctx, l, chosen, cmd.OutOrStdout(), cmd.ErrOrStderr())
		}
		endpoint, done := to.or(cfg.Backend).open()
		defer done()
		return redriveAll(ctx, l, chosen, endpoint, cmd.OutOrStdout(), cmd.ErrOrStderr())
	})
}

func redriveDry(ctx context.Context, l letters, chosen choice, w io.Writer) error {
	topic, err := scan.Open(ctx, l.cluster, l.topic)
	if err != nil {
		return err
	}
	defer topic.Close()
	ranges, count, err := l.survey(ctx, topic, chosen)
	if err != nil {
		return err
	}
	if !l.spans {
		fmt.Fprintf(w, "would send %s back\n", english.Plural(int(count), "record", ""))
		return nil
	}
	source := sifted{TopicSource: replay.FromRanges(topic, ranges), letters: l, chosen: chosen, count: count}
	counts, err := replay.Count(ctx, source, replay.Filter{Format: l.format}, func(int64) {})
	if err != nil {
		return err
	}
	writeCounts(w, counts)
	return nil
}

// sifted are the chosen letters of a topic. The others are kept, if there is keep.
type sifted struct {
	*replay.TopicSource
	letters
	chosen choice
	count  int64
	keep   func(context.Context, aside) error
}

// Total implements Total of [replay.Source].
func (s sifted) Total(context.Context) (int64, error) { return s.count, nil }

// Read implements Read of [replay.Source].
func (s sifted) Read(ctx context.Context, yield func(replay.Record) error) error {
	return s.TopicSource.Read(ctx, func(r replay.Record) error {
		a := newAside(s.format, &kafka.Message{
			TopicPartition: kafka.TopicPartition{Partition: r.Partition, Offset: kafka.Offset(r.Offset)},
			Timestamp:      r.Time, Key: r.Key, Value: r.Value, Headers: r.Headers,
		})
		switch {
		case s.chosen.wants(a):
			return yield(r)
		case s.keep != nil:
			return s.keep(ctx, a)
		}
		return nil
	})
}

// redrive is one run of the command for letters that go to Jaeger.
type redrive struct {
	*opened
	endpoint deliver.Endpoint
}

// redriveAll sends the chosen letters to Jaeger, and tells what became of them.
func redriveAll(ctx context.Context, l letters, chosen choice, endpoint deliver.Endpoint, stdout, stderr io.Writer) (err error) {
	o, err := l.open(ctx, chosen)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.close(ctx)) }()
	r := &redrive{o, endpoint}
	source := sifted{replay.FromRanges(o.scan, o.ranges), l, chosen, o.count, o.keep}
	shown := meter.New(stderr, "records", o.count)
	result, err := replay.Run(ctx, source, replay.Config{Endpoint: endpoint, Alone: true, Meter: shown, Read: r.read, SetAside: r.setAside, Through: o.remove})
	shown.Close()
	if err != nil && result.Records == 0 && result.Refused == 0 {
		return err
	}
	fmt.Fprintf(stdout, "sent %s with %s to %s, set %s aside again\n", english.Plural(int(result.Records), "record", ""),
		english.Plural(int(result.Spans), "span", ""), endpoint.URL(), english.Plural(int(result.Refused), "record", ""))
	writeRefusals(stderr, result)
	if err == nil && result.Refused > 0 {
		err = fmt.Errorf("%s set aside again", english.Plural(int(result.Refused), "record is", "records are"))
	}
	return err
}

// read implements Read of [dispatch.Config].
func (r *redrive) read(record *dispatch.Record) error {
	if a := newAside(r.endpoint.Format, record.Message); a.CutFrom > 0 {
		return dispatch.Permanent(errors.New(a.cut()))
	}
	err := r.endpoint.Read(record)
	if errors.Is(err, dispatch.ErrSkip) {
		return dispatch.Permanent(errors.New("it has no value"))
	}
	return err
}

// setAside implements SetAside of [dispatch.Config]. What is cut keeps its reason.
func (r *redrive) setAside(ctx context.Context, p dispatch.Part, reason error) error {
	entry := deadletter.Read(p.Message)
	if entry.CutFrom > 0 {
		reason = errors.New(entry.Reason)
	}
	return r.queue.Write(ctx, entry.Again(r.endpoint.Value(p), reason))
}
