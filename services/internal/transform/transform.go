// Package transform is what a service does that makes one record of another: it reads a topic, calls a function for each record,
// writes the result to another topic, and sets aside on a dead-letter topic what has none.
//
// Each record is handled at least once: an offset is committed only when the result is acknowledged. The function is called for
// several records at once. The results of a partition are written in the order of its records, and none of those that were read
// together before all are there: so nothing is written twice because one of them has to wait. While Kafka is away it waits and
// tries again; nothing is skipped.
package transform

import (
	"cmp"
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

// InFlight is for how many records the function is called at once, and how many partitions are worked on.
const InFlight = 16

// What is read together of a partition, and written together: at most. A result that is too large for the topic is so written
// alone, as topics take more than maxBytes.
const (
	maxRecords = 256
	maxBytes   = 256 << 10
)

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
	service.CollectSeldom()
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
	w := worker{cfg: cfg, producer: producer, slots: make(chan struct{}, InFlight)}
	consumer, err := consume.New(consume.Config{
		Cluster:        cluster,
		Group:          cfg.Group,
		InstanceID:     cfg.Member.InstanceID,
		SessionTimeout: cfg.Member.SessionTimeout,
		Topic:          cfg.From,
		StopTimeout:    cfg.Common.ShutdownTimeout / 2,
		Flush:          cfg.Tracer.Flush,
		Log:            cfg.Log,
		Dispatch: dispatch.Config{
			InFlight:   InFlight,
			Ordered:    true,
			MaxRecords: maxRecords,
			MaxPieces:  maxRecords,
			MaxBytes:   maxBytes,
			Handle:     w.handle,
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

// worker makes results of records, and writes them.
type worker struct {
	cfg      Config
	producer *kafkaclient.Producer
	slots    chan struct{} // of calls of the function
}

// handle blocks until the results of all records are acknowledged.
func (w worker) handle(ctx context.Context, parts []dispatch.Part) error {
	results, err := w.results(ctx, parts)
	if err != nil {
		return err
	}
	bytes := 0
	for _, m := range results {
		bytes += len(m.Key) + len(m.Value)
	}
	if len(parts) > 1 && bytes > maxBytes {
		return dispatch.Split(fmt.Errorf("results of %d bytes", bytes))
	}
	return w.write(ctx, parts, results)
}

// results calls the function for each record, until one fails.
func (w worker) results(ctx context.Context, parts []dispatch.Part) ([]*kafka.Message, error) {
	results := make([]*kafka.Message, len(parts))
	calls, trying := errgroup.WithContext(ctx)
	for i, p := range parts {
		w.slots <- struct{}{}
		if trying.Err() != nil { // those under way go on: their results are kept for the next try
			<-w.slots
			break
		}
		calls.Go(func() error {
			defer func() { <-w.slots }()
			key, value, err := w.cfg.Func(inSpan(ctx, w.cfg.Tracer, p.Record), p.Record)
			results[i] = &kafka.Message{
				TopicPartition: kafka.TopicPartition{Topic: &w.cfg.To, Partition: kafka.PartitionAny},
				Key:            key,
				Value:          value,
			}
			return err
		})
	}
	err := calls.Wait()
	if err == nil {
		err = ctx.Err()
	}
	return results, err
}

// write writes results in their order, each under a span To_<topic>, and blocks until all are acknowledged. One that is too large
// for the topic can never be written.
func (w worker) write(ctx context.Context, parts []dispatch.Part, results []*kafka.Message) error {
	acks := make(chan error, len(results))
	sending, stop := context.WithCancel(ctx) // ends when one is refused: none behind it may be written
	defer stop()
	acked := func(_ kafka.TopicPartition, err error) {
		if err != nil {
			stop()
		}
		acks <- err
	}
	var err, refused error
	sent := 0
	for ; sent < len(results) && sending.Err() == nil; sent++ {
		span := parts[sent].Span
		if refused = kafkatrace.Enqueue(opentracing.ContextWithSpan(sending, span), w.cfg.Tracer, w.producer, results[sent], acked, tagsOf(span)); refused != nil {
			break
		}
	}
	for range sent { // also after an error: what is written again must not overtake them
		select {
		case ack := <-acks:
			err = cmp.Or(err, ack)
		case <-ctx.Done():
			return fmt.Errorf("no acknowledgement of %s: %w", w.cfg.To, ctx.Err())
		}
	}
	err = cmp.Or(err, refused)
	if sent < len(results) && err == nil {
		err = context.Cause(sending)
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("produce to %s: %w", w.cfg.To, err)
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
