package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/spf13/cobra"

	"fault-tolerant-tracing/services/internal/deadletter"
	"fault-tolerant-tracing/services/internal/kafkaadmin"
	"fault-tolerant-tracing/services/internal/meter"
	"fault-tolerant-tracing/services/internal/replay"
	"fault-tolerant-tracing/services/internal/scan"
	"fault-tolerant-tracing/services/internal/service"
)

const dlqRedriveDoc = `Redrive sends what was set aside to Jaeger again, the oldest first. What Jaeger
still refuses is set aside anew, behind the rest, with the new reason, and so is what
was cut, which is not sent; the exit code is then 1. Records are removed from the dead-letter topic only when they and all
before them are through, so that nothing is lost whenever redrive is ended; what was
sent and not yet removed is then sent again by the next one.

It takes what is on the dead-letter topic when it starts. Jaeger's absence is waited
out, until Ctrl-C, unless it has never answered: then 10 seconds.`

const (
	removeEvery   = 500              // records, so that a redrive that ends early need not begin anew
	removeTimeout = 10 * time.Second // for one removal, also after Ctrl-C
)

type redriveConfig struct {
	Kafka    service.TracingKafka
	Topic    string  `env:"TRACING_DLQ" envDefault:"tracing-dlq" help:"topic with what was set aside"`
	Endpoint url.URL `env:"JAEGER_ENDPOINT" envDefault:"http://localhost:14268/api/traces" help:"Jaeger's collector"`
}

func dlqRedriveCommand() *cobra.Command {
	var jaeger urlFlag
	var dryRun bool
	cmd := &cobra.Command{
		Use: "redrive", Short: "Send what was set aside again, and remove what is through", Long: dlqRedriveDoc,
		Example: "relay dlq redrive --dry-run\nrelay dlq redrive --jaeger http://other:14268/api/traces",
	}
	cmd.Flags().Var(&jaeger, "jaeger", jaegerUsage)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "count what would be sent, send and remove nothing")
	return service.Command(cmd, func(ctx context.Context, cfg redriveConfig, _ []string) error {
		if dryRun {
			return redriveDry(ctx, cfg, cmd.OutOrStdout())
		}
		return redriveAll(ctx, cfg, jaeger.or(cfg.Endpoint), cmd.OutOrStdout(), cmd.ErrOrStderr())
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
	counts, err := replay.Count(ctx, source, replay.Filter{}, func(int64) {})
	if err != nil {
		return err
	}
	writeCounts(w, counts)
	return nil
}

// redrive is one run of the command.
type redrive struct {
	name   string // of the dead-letter topic
	topic  *scan.Topic
	admin  *kafkaadmin.Admin
	queue  *deadletter.Queue
	sender *replay.Sender
	meter  *meter.Meter
	stdout io.Writer

	records, spans int64 // through, spans as far as Jaeger took them
	again          int64 // records set aside again, entirely or in part
	cut            int64 // those of them that are not sent, as they are not whole
}

// redriveAll opens what a redrive needs, runs it and tells what it did.
func redriveAll(ctx context.Context, cfg redriveConfig, endpoint url.URL, stdout, stderr io.Writer) (err error) {
	cluster := cfg.Kafka.Cluster()
	topic, err := scan.Open(ctx, cluster, cfg.Topic)
	if err != nil {
		return err
	}
	defer topic.Close()
	ranges, err := topic.All()
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

	r := &redrive{name: cfg.Topic, topic: topic, admin: admin, queue: deadletter.New(producer, cfg.Topic), stdout: stdout, meter: meter.New(stderr, "records", scan.Records(ranges))}
	r.sender = replay.NewSender(endpoint, r.meter.Waiting)
	defer r.sender.Close()
	r.sender.Alone() // one after the other
	err = r.run(ctx, ranges)
	r.meter.Close()
	if err != nil && r.records == 0 {
		return err
	}
	fmt.Fprintf(stdout, "sent %d spans of %d records to %s, set %d records aside again\n", r.spans, r.records, r.sender.URL(), r.again)
	if refused := r.again - r.cut; err == nil && refused > 0 {
		err = fmt.Errorf("jaeger still refuses %d records", refused)
	}
	if r.cut > 0 {
		err = errors.Join(err, fmt.Errorf("%d records are cut and were not sent", r.cut))
	}
	return err
}

// run redrives partition after partition. Before the first record is sent it makes
// sure that records may be removed.
func (r *redrive) run(ctx context.Context, ranges []scan.Range) error {
	for _, part := range ranges {
		if err := r.remove(ctx, part.Partition, part.From); err != nil {
			return err
		}
	}
	for _, part := range ranges {
		if err := r.partition(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

// partition redrives the records of one partition, and removes them as far as they
// are through, also when it ends early.
func (r *redrive) partition(ctx context.Context, part scan.Range) error {
	through, removed := part.From, part.From
	err := r.topic.Read(ctx, []scan.Range{part}, func(m *kafka.Message) error {
		if err := r.record(ctx, newAside(m)); err != nil {
			return err
		}
		through = int64(m.TopicPartition.Offset) + 1
		if through-removed < removeEvery {
			return nil
		}
		removed = through
		return r.remove(ctx, part.Partition, through)
	})
	if err == nil {
		through = part.To
	}
	if through == removed {
		return err
	}
	return errors.Join(err, r.remove(context.WithoutCancel(ctx), part.Partition, through))
}

// record sends one record. It returns nil when each of its spans is with Jaeger or
// set aside again.
func (r *redrive) record(ctx context.Context, a aside) error {
	if a.CutFrom > 0 {
		return r.keep(ctx, a)
	}
	refused, err := r.sender.Send(ctx, a.Value)
	if err != nil {
		return err
	}
	spans := a.frame.Spans()
	for _, part := range refused {
		if err := r.queue.Write(ctx, a.Again(part.Value, part.Reason)); err != nil {
			return err
		}
		spans -= part.Spans
	}
	r.records++
	r.spans += int64(spans)
	if len(refused) > 0 {
		r.again++
	}
	r.meter.Add(1)
	return nil
}

// keep sets a record aside again that is not whole, as it is.
func (r *redrive) keep(ctx context.Context, a aside) error {
	if err := r.queue.Write(ctx, a.Again(a.Value, errors.New(a.Reason))); err != nil {
		return err
	}
	fmt.Fprintf(r.stdout, "offset %s is %s\n", a.place, a.cut())
	r.records++
	r.again++
	r.cut++
	r.meter.Add(1)
	return nil
}

// remove deletes the records of a partition before the offset.
func (r *redrive) remove(ctx context.Context, partition int32, before int64) error {
	ctx, cancel := context.WithTimeout(ctx, removeTimeout)
	defer cancel()
	place := kafka.TopicPartition{Topic: &r.name, Partition: partition, Offset: kafka.Offset(before)}
	results, err := r.admin.DeleteRecords(ctx, []kafka.TopicPartition{place}, kafka.SetAdminRequestTimeout(removeTimeout))
	if err == nil && len(results.DeleteRecordsResults) == 1 {
		err = results.DeleteRecordsResults[0].TopicPartition.Error
	}
	if err != nil {
		return fmt.Errorf("remove records from %s: %w", r.name, err)
	}
	return nil
}
