package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/spf13/cobra"

	"fault-tolerant-tracing/services/internal/deadletter"
	"fault-tolerant-tracing/services/internal/deliver"
	"fault-tolerant-tracing/services/internal/dispatch"
	"fault-tolerant-tracing/services/internal/kafkaadmin"
	"fault-tolerant-tracing/services/internal/meter"
	"fault-tolerant-tracing/services/internal/replay"
	"fault-tolerant-tracing/services/internal/scan"
	"fault-tolerant-tracing/services/internal/service"
)

const dlqRedriveDoc = `Redrive sends what was set aside to Jaeger again. What Jaeger still refuses is listed
and set aside anew, behind the rest, with the new reason; so is, without being sent,
what holds no batch of spans or was cut. The exit code is then 1. Records are removed
from the dead-letter topic only when they and all before them are through, so that
nothing is lost whenever redrive is ended; what was sent and not yet removed is then
sent again by the next one. What a backend has taken in part ("partly rejected") is sent
whole again, and probably rejected in part again: look at it, and delete it.

It takes what is on the dead-letter topic when it starts. Jaeger's absence is waited
out, until Ctrl-C, unless it has never answered: then 10 seconds.`

const removeTimeout = 10 * time.Second

type redriveConfig struct {
	Kafka   service.TracingKafka
	Topic   string `env:"TRACING_DLQ" envDefault:"tracing-dlq" help:"topic with what was set aside"`
	Backend backend
}

func dlqRedriveCommand() *cobra.Command {
	var to endpointFlags
	var dryRun bool
	cmd := &cobra.Command{
		Use: "redrive", Short: "Send what was set aside again, and remove what is through", Long: dlqRedriveDoc,
		Example: "relay dlq redrive --dry-run\nrelay dlq redrive --endpoint http://other:4318/v1/traces",
	}
	to.add(cmd.Flags())
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "count what would be sent, send and remove nothing")
	return service.Command(cmd, func(ctx context.Context, cfg redriveConfig, _ []string) error {
		if dryRun {
			return redriveDry(ctx, cfg, cmd.OutOrStdout())
		}
		endpoint, done := to.or(cfg.Backend).open()
		defer done()
		return redriveAll(ctx, cfg, endpoint, cmd.OutOrStdout(), cmd.ErrOrStderr())
	})
}

func redriveDry(ctx context.Context, cfg redriveConfig, w io.Writer) error {
	topic, err := scan.Open(ctx, cfg.Kafka.Cluster(), cfg.Topic)
	if err != nil {
		return err
	}
	defer topic.Close()
	source, err := replay.FromTopic(topic, time.Time{}, time.Time{})
	if err != nil {
		return err
	}
	counts, err := replay.Count(ctx, source, replay.Filter{Format: cfg.Backend.Format}, func(int64) {})
	if err != nil {
		return err
	}
	writeCounts(w, counts)
	return nil
}

// redrive is one run of the command.
type redrive struct {
	name     string // of the dead-letter topic
	endpoint deliver.Endpoint
	admin    *kafkaadmin.Admin
	queue    *deadletter.Queue
}

// redriveAll opens what a redrive needs, runs it and tells what it did. Before the
// first record is sent it makes sure that records may be removed.
func redriveAll(ctx context.Context, cfg redriveConfig, endpoint deliver.Endpoint, stdout, stderr io.Writer) (err error) {
	cluster := cfg.Kafka.Cluster()
	topic, err := scan.Open(ctx, cluster, cfg.Topic)
	if err != nil {
		return err
	}
	defer topic.Close()
	source, err := replay.FromTopic(topic, time.Time{}, time.Time{})
	if err != nil {
		return err
	}
	admin, err := kafkaadmin.New(cluster)
	if err != nil {
		return err
	}
	defer admin.Close()
	quiet := slog.New(slog.DiscardHandler) // a command tells its errors itself
	producer, err := deadletter.NewProducer(cluster, quiet)
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
		defer cancel()
		err = errors.Join(err, producer.Close(closing))
	}()

	r := &redrive{name: cfg.Topic, endpoint: endpoint, admin: admin, queue: deadletter.New(producer, cfg.Topic)}
	if err := r.remove(source.Begin()); err != nil {
		return err
	}
	total, err := source.Total(ctx)
	if err != nil {
		return err
	}
	shown := meter.New(stderr, "records", total)
	result, err := replay.Run(ctx, source, replay.Config{Endpoint: endpoint, Alone: true, Meter: shown, Read: r.read, SetAside: r.setAside, Through: r.remove})
	shown.Close()
	if err != nil && result.Records == 0 && result.Refused == 0 {
		return err
	}
	fmt.Fprintf(stdout, "sent %d records with %d spans to %s, set %d records aside again\n", result.Records, result.Spans, endpoint.URL(), result.Refused)
	writeRefusals(stderr, result)
	if err == nil && result.Refused > 0 {
		err = fmt.Errorf("%d records are set aside again", result.Refused)
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

// remove deletes the records of the partitions before these offsets, also after Ctrl-C.
func (r *redrive) remove(before map[int32]int64) error {
	if len(before) == 0 {
		return nil
	}
	var places []kafka.TopicPartition
	for partition, offset := range before {
		places = append(places, kafka.TopicPartition{Topic: &r.name, Partition: partition, Offset: kafka.Offset(offset)})
	}
	ctx, cancel := context.WithTimeout(context.Background(), removeTimeout)
	defer cancel()
	results, err := r.admin.DeleteRecords(ctx, places, kafka.SetAdminRequestTimeout(removeTimeout))
	for _, result := range results.DeleteRecordsResults {
		if result.TopicPartition.Error != nil {
			err = result.TopicPartition.Error
		}
	}
	if err != nil {
		return fmt.Errorf("remove records from %s: %w", r.name, err)
	}
	return nil
}
