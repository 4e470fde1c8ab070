// Command answer works out each sentence: it reads "6 + 1" from sentence-topic
// and writes the sum, as JSON, to answer-topic.
//
// Each record is handled at least once and the records of a partition in their
// order: an offset is committed only when the answer is acknowledged. While
// Kafka is away it holds and tries again. What is no such sentence goes to
// sentence-dlq, with the reason.
package main

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"fault-tolerant-tracing/services/internal/consume"
	"fault-tolerant-tracing/services/internal/deadletter"
	"fault-tolerant-tracing/services/internal/service"
	"fault-tolerant-tracing/tracing"
	"fault-tolerant-tracing/tracing/kafkaclient"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"golang.org/x/sync/errgroup"
)

const doc = `answer works out each sentence: it reads "6 + 1" from sentence-topic and writes
the sum, as JSON, to answer-topic.

While Kafka is away it holds and tries again; nothing is skipped, and the order
within a partition is kept. What is no such sentence is set aside on
sentence-dlq, with the reason.`

// group is the consumer group of all answer services.
const group = "answer-app"

// inFlight is how many records are worked on at once, one of each partition.
const inFlight = 16

func main() { os.Exit(service.Main("answer", doc, run)) }

func run(ctx context.Context, cfg config, log *slog.Logger) (err error) {
	var teardown service.Teardown
	defer func() { err = errors.Join(err, teardown.Run(cfg.ShutdownTimeout/2)) }()

	tracer, closeTracer, err := tracing.New(cfg.Tracing.Config("answer", log))
	if err != nil {
		return err
	}
	teardown.Add("tracer", closeTracer)

	ops, err := service.Listen(cfg.HTTPAddr, log, nil)
	if err != nil {
		return err
	}
	teardown.Add("http server", ops.Close)
	ops.Metrics().MustRegister(service.TracerMetrics(tracer))

	cluster := cfg.Kafka.Cluster()
	cluster.ClientID = "answer"
	if err := service.WaitForTopics(ctx, cluster, log, cfg.SentenceTopic, cfg.AnswerTopic, cfg.SentenceDLQ); err != nil {
		return err
	}

	producer, err := kafkaclient.NewProducer(cluster, log, kafka.ConfigMap{"message.max.bytes": deadletter.MaxBytes})
	if err != nil {
		return err
	}
	teardown.Add("producer", producer.Close)

	worker := &worker{tracer: tracer, producer: producer, topic: cfg.AnswerTopic}
	consumer, err := consume.New(consume.Config{
		Cluster:        cluster,
		Group:          group,
		InstanceID:     cfg.GroupInstanceID,
		SessionTimeout: cfg.SessionTimeout,
		Topic:          cfg.SentenceTopic,
		InFlight:       inFlight,
		Ordered:        true,
		Handle:         worker.handle,
		SetAside:       deadletter.New(producer, cfg.SentenceDLQ).SetAside,
		Tracer:         tracer,
		StopTimeout:    cfg.ShutdownTimeout / 2,
		Log:            log,
	})
	if err != nil {
		return err
	}
	teardown.Add("consumer", consumer.Close)
	ops.Ready(consumer.Ready)
	ops.Metrics().MustRegister(service.ConsumerMetrics(consumer.Status))

	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error { return ops.Wait(ctx) })
	work.Go(func() error { return consumer.Run(ctx) })
	return work.Wait()
}
