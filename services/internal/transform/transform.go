// Package transform is what a service does that makes one record of another: it reads a topic, calls a function for each record,
// writes the result to another topic, and sets aside on a dead-letter topic what has none.
//
// Each record is handled at least once, and the records of a partition in their order: an offset is committed only when the result
// is acknowledged. While Kafka is away it waits and tries again; nothing is skipped.
package transform

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/opentracing/opentracing-go"
	"golang.org/x/sync/errgroup"

	"fault-tolerant-tracing/services/internal/consume"
	"fault-tolerant-tracing/services/internal/deadletter"
	"fault-tolerant-tracing/services/internal/dispatch"
	"fault-tolerant-tracing/services/internal/kafkaadmin"
	"fault-tolerant-tracing/services/internal/service"
	"fault-tolerant-tracing/tracing"
	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/kafkatrace"
)

// InFlight is how many records are worked on at once, one of each partition.
const InFlight = 16

// Func returns the key and value that a record becomes. Its error decides as that of Handle of [dispatch.Config] does. It is called from
// several goroutines at once, for different records; the span of the record is in ctx.
type Func func(ctx context.Context, r *dispatch.Record) (key, value []byte, err error)

// Config says what to read and what to write.
type Config struct {
	Service  string // its name, which its Kafka clients carry
	Group    string // consumer group of all its instances
	From, To string // topics
	DLQ      string // topic for records that can never be transformed
	Func     Func

	Kafka    service.Kafka
	Member   service.Group
	Common   service.Common
	HTTPAddr service.Addr
	Tracer   *tracing.Tracer
	Log      *slog.Logger
}

// Run transforms records until ctx ends. What it opens is closed by teardown.
func Run(ctx context.Context, cfg Config, teardown *service.Teardown) error {
	ops, err := service.Listen(cfg.HTTPAddr, cfg.Log, nil)
	if err != nil {
		return err
	}
	teardown.Add("http server", ops.Close)

	cluster := cfg.Kafka.Cluster()
	cluster.ClientID = cfg.Service
	if err := kafkaadmin.WaitForTopics(ctx, cluster, cfg.Log, cfg.From, cfg.To); err != nil {
		return err
	}

	producer, err := kafkaclient.NewProducer(cluster, cfg.Log, kafka.ConfigMap{"message.max.bytes": deadletter.MaxBytes})
	if err != nil {
		return err
	}
	teardown.Add("producer", producer.Close)

	letters, err := deadletter.NewProducer(cluster, cfg.Log)
	if err != nil {
		return err
	}
	teardown.Add("dead-letter producer", letters.Close)

	dlq := deadletter.New(letters, cfg.DLQ)
	writer := writer{tracer: cfg.Tracer, producer: producer, topic: cfg.To}
	consumer, err := consume.New(consume.Config{
		Cluster:        cluster,
		Group:          cfg.Group,
		InstanceID:     cfg.Member.InstanceID,
		SessionTimeout: cfg.Member.SessionTimeout,
		Topic:          cfg.From,
		StopTimeout:    cfg.Common.ShutdownTimeout / 2,
		Log:            cfg.Log,
		Dispatch: dispatch.Config{
			InFlight: InFlight,
			Ordered:  true,
			Handle: func(ctx context.Context, parts []dispatch.Part) error {
				r := parts[0].Record
				key, value, err := cfg.Func(inSpan(ctx, cfg.Tracer, r), r)
				if err != nil {
					return err
				}
				return writer.write(opentracing.ContextWithSpan(ctx, r.Span), key, value)
			},
			SetAside: func(ctx context.Context, p dispatch.Part, reason error) error {
				return dlq.Write(opentracing.ContextWithSpan(ctx, p.Span), deadletter.Of(p.Message, reason), tagsOf(p.Span))
			},
			Finished: finishSpan,
		},
	})
	if err != nil {
		return err
	}
	teardown.Add("consumer", consumer.Close)
	ops.Ready(consumer.Ready)
	ops.Metrics().MustRegister(consume.Metrics(consumer.Status), service.TracerMetrics(cfg.Tracer))

	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error { return ops.Wait(ctx) })
	work.Go(func() error { return consumer.Run(ctx) })
	return work.Wait()
}

// inSpan returns a context with the span From_<topic> of a record, which lasts from its first try until it is finished.
func inSpan(ctx context.Context, tracer opentracing.Tracer, r *dispatch.Record) context.Context {
	if r.Span == nil {
		r.Span = &recordSpan{kafkatrace.StartConsumeSpan(tracer, r.Message), opentracing.Tags{}}
	}
	return opentracing.ContextWithSpan(ctx, r.Span)
}

func finishSpan(r *dispatch.Record, err error) {
	if r.Span == nil {
		return
	}
	if err != nil {
		kafkatrace.SetError(r.Span, err)
	}
	r.Span.Finish()
}

// writer writes results to a topic, each under a span To_<topic>.
type writer struct {
	tracer   opentracing.Tracer
	producer *kafkaclient.Producer
	topic    string
}

// write blocks until the result is acknowledged. One that is too large for the topic can never be written.
func (w writer) write(ctx context.Context, key, value []byte) error {
	_, err := kafkatrace.Send(ctx, w.tracer, w.producer, &kafka.Message{
		TopicPartition: kafka.TopicPartition{Topic: &w.topic, Partition: kafka.PartitionAny},
		Key:            key,
		Value:          value,
	}, tagsOf(opentracing.SpanFromContext(ctx)))
	if err == nil {
		return nil
	}
	err = fmt.Errorf("produce to %s: %w", w.topic, err)
	if refused := new(kafka.Error); errors.As(err, refused) && refused.Code() == kafka.ErrMsgSizeTooLarge {
		return dispatch.Permanent(err)
	}
	return err
}

// recordSpan is the span From_<topic> of a record.
type recordSpan struct {
	opentracing.Span
	tags opentracing.Tags // that Tag has set
}

// Tag sets a tag on the span of the record, if it has one, and on those of what is written for it from now on.
func Tag(ctx context.Context, key string, value any) {
	if span, is := opentracing.SpanFromContext(ctx).(*recordSpan); is && span.tags[key] != value { // as before, in another try
		span.SetTag(key, value)
		span.tags[key] = value
	}
}

// tagsOf returns what Tag has set on a span.
func tagsOf(span opentracing.Span) opentracing.Tags {
	if span, is := span.(*recordSpan); is {
		return span.tags
	}
	return nil
}
