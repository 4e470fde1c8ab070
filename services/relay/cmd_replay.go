package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"

	"fault-tolerant-tracing/services/internal/archive"
	"fault-tolerant-tracing/services/internal/deliver"
	"fault-tolerant-tracing/services/internal/meter"
	"fault-tolerant-tracing/services/internal/printable"
	"fault-tolerant-tracing/services/internal/replay"
	"fault-tolerant-tracing/services/internal/scan"
	"fault-tolerant-tracing/services/internal/service"
)

const replayDoc = `Replay sends spans to Jaeger that are on tracing-topic, once more or to another
Jaeger. It joins no consumer group and moves no offsets, so that the relays do not
notice. Say which records by the time at which they were written, or by trace.
With --archive it sends what relay archive has stored, all of it if nothing else is
said, and needs no Kafka.

It takes what is on the topic when it starts. With --to, records that came to the
topic up to an hour after they were written are found. Jaeger's absence is waited
out, until Ctrl-C, unless it has never answered: then 10 seconds. What Jaeger refuses
for good is listed at the end, and the exit code is then 1. A span that Jaeger has
already is overwritten in badger, but kept twice in its memory store.`

const replayExample = `relay replay --since 10m
relay replay --from "2026-01-02 15:00:00" --to "2026-01-02 16:30:00" --service sentence --dry-run
relay replay --trace 4b9f3b0a1c2d3e4f --endpoint http://other:4318/v1/traces
relay replay --archive file:///var/lib/traces --from 2026-01-02T00:00:00Z`

// endOfTime is after every record.
var endOfTime = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

type replayConfig struct {
	Kafka   service.TracingKafka
	Topic   string `env:"TRACING_TOPIC" envDefault:"tracing-topic" help:"topic with the spans"`
	Backend backend
}

// replaying is one call of the command.
type replaying struct {
	since    time.Duration
	from, to timeFlag
	service  string
	trace    traceFlag
	archive  string
	endpoint endpointFlags
	dryRun   bool

	stdout, stderr io.Writer
}

func replayCommand() *cobra.Command {
	var r replaying
	cmd := &cobra.Command{Use: "replay", Short: "Send spans that are on the topic once more", Long: replayDoc, Example: replayExample}
	flags := cmd.Flags()
	flags.DurationVar(&r.since, "since", 0, "what was written within this `duration` before now, such as 10m or 36h")
	flags.Var(&r.from, "from", "what was written at this `time` or later")
	flags.Var(&r.to, "to", "what was written before this `time`; otherwise all up to now")
	flags.StringVar(&r.service, "service", "", "only records of the service of this `name`; of a record with several services the first one counts")
	flags.Var(&r.trace, "trace", "only spans of the trace with this `id`, as Jaeger's UI shows it")
	flags.StringVar(&r.archive, "archive", "", "not the topic but the archive at this `URL`, file:///DIR or s3://BUCKET")
	r.endpoint.add(flags)
	flags.BoolVar(&r.dryRun, "dry-run", false, "count what would be sent, send nothing")
	return service.Command(cmd, func(ctx context.Context, cfg replayConfig, _ []string) error {
		r.stdout, r.stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
		return r.run(ctx, cfg)
	})
}

func (r *replaying) run(ctx context.Context, cfg replayConfig) error {
	filter, err := r.filter(time.Now())
	if err != nil {
		return err
	}
	filter.Format = cfg.Backend.Format
	source, done, err := r.open(ctx, cfg, filter)
	if err != nil {
		return err
	}
	defer done()
	if r.dryRun {
		return r.count(ctx, source, filter)
	}
	endpoint, closeEndpoint := r.endpoint.or(cfg.Backend).open()
	defer closeEndpoint()
	return r.send(ctx, source, filter, endpoint)
}

// open returns where the records come from; done releases it.
func (r *replaying) open(ctx context.Context, cfg replayConfig, filter replay.Filter) (source replay.Source, done func(), err error) {
	if r.archive != "" {
		return r.openArchive(ctx, cfg, filter)
	}
	topic, err := scan.Open(ctx, cfg.Kafka.Cluster(), cfg.Topic)
	if err != nil {
		return nil, nil, err
	}
	source, err = replay.FromTopic(topic, filter.From, filter.To)
	if err != nil {
		topic.Close()
		return nil, nil, err
	}
	return source, topic.Close, nil
}

func (r *replaying) openArchive(ctx context.Context, cfg replayConfig, filter replay.Filter) (source replay.Source, done func(), err error) {
	stored, err := archive.Open(ctx, r.archive)
	if err != nil {
		return nil, nil, err
	}
	if filter.To.IsZero() {
		filter.To = endOfTime
	}
	return stored.Source(cfg.Topic, filter.From, filter.To), func() { _ = stored.Close() }, nil
}

// filter checks that the flags fit each other.
func (r *replaying) filter(now time.Time) (replay.Filter, error) {
	f := replay.Filter{From: r.from.Time, To: r.to.Time, Service: r.service, Trace: r.trace.id}
	switch {
	case r.since < 0:
		return f, service.Usage("--since must be above zero")
	case r.since > 0 && !(f.From.IsZero() && f.To.IsZero()):
		return f, service.Usage("--since goes without --from and --to")
	case r.since > 0:
		f.From = now.Add(-r.since)
	case f.From.IsZero() && r.trace.text == "" && r.archive == "":
		return f, service.Usage("say what to send: --since, --from, --trace or --archive")
	case !f.To.IsZero() && !f.From.Before(f.To):
		return f, service.Usage("--from must be before --to")
	}
	return f, nil
}

func (r *replaying) send(ctx context.Context, source replay.Source, filter replay.Filter, endpoint deliver.Endpoint) error {
	total, err := source.Total(ctx)
	if err != nil {
		return err
	}
	shown := meter.New(r.stderr, "records", total)
	begin := time.Now()
	result, err := replay.Run(ctx, source, replay.Config{Endpoint: endpoint, Filter: filter, Meter: shown, Read: endpoint.Read})
	shown.Close()
	if err != nil && result.Records == 0 && result.Refused == 0 {
		return err
	}
	fmt.Fprintf(r.stdout, "sent %s with %s to %s in %s\n", english.Plural(int(result.Records), "record", ""),
		english.Plural(int(result.Spans), "span", ""), endpoint.URL(), time.Since(begin).Round(time.Millisecond))
	writeRefusals(r.stderr, result)
	if err == nil && result.Refused > 0 {
		err = fmt.Errorf("%s can never be delivered", english.Plural(int(result.Refused), "record", ""))
	}
	return err
}

// writeRefusals names what a run could not deliver.
func writeRefusals(w io.Writer, result replay.Result) {
	for _, refusal := range result.Refusals {
		fmt.Fprintf(w, "refused: partition %d, offset %d, %s: %s\n", refusal.Partition, refusal.Offset, english.Plural(refusal.Spans, "span", ""), printable.Line(refusal.Reason.Error()))
	}
	if more := result.Refused - int64(len(result.Refusals)); more > 0 {
		fmt.Fprintf(w, "refused: %d more\n", more)
	}
}

func (r *replaying) count(ctx context.Context, source replay.Source, filter replay.Filter) error {
	total, err := source.Total(ctx)
	if err != nil {
		return err
	}
	shown := meter.New(r.stderr, "records", total)
	counts, err := replay.Count(ctx, source, filter, shown.Add)
	shown.Close()
	if err != nil {
		return err
	}
	writeCounts(r.stdout, counts)
	return nil
}

// writeCounts prints what a dry run has found.
func writeCounts(w io.Writer, counts replay.Counts) {
	atLeast := ""
	if counts.MoreTraces {
		atLeast = "more than "
	}
	fmt.Fprintf(w, "would send %s with %s of %s%s\n", english.Plural(int(counts.Records), "record", ""),
		english.Plural(int(counts.Spans), "span", ""), atLeast, english.Plural(int(counts.Traces), "trace", ""))
	if counts.NoBatch > 0 {
		fmt.Fprintf(w, "%d of the records %s no spans\n", counts.NoBatch, english.PluralWord(int(counts.NoBatch), "holds", "hold"))
	}
	if len(counts.Services) == 0 {
		return
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(table, "SERVICE\tRECORDS\tSPANS\n")
	for _, name := range slices.Sorted(maps.Keys(counts.Services)) {
		fmt.Fprintf(table, "%s\t%d\t%d\n", printable.Line(name), counts.Services[name].Records, counts.Services[name].Spans)
	}
	_ = table.Flush()
}
