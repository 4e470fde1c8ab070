// Command sentence makes a sum of each number: it reads even-topic, asks the
// service random for a second number, and writes "6 + 1" to sentence-topic.
//
// Each record is handled at least once and the records of a partition in their
// order: an offset is committed only when the sentence is acknowledged. While
// random or Kafka is away or slow it holds and tries again, and nothing is
// skipped. What is no integer goes to even-dlq, with the reason.
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

const doc = `sentence makes a sum of each number: it reads even-topic, asks the service
random for a second number, and writes "6 + 1" to sentence-topic.

While random or Kafka is away or slow it holds and tries again; nothing is
skipped, and the order within a partition is kept. What is no integer is set
aside on even-dlq, with the reason.`

// group is the consumer group of all sentence services.
const group = "sentence-app"

// inFlight is how many records are worked on at once, one of each partition.
const inFlight = 16

func main() { os.Exit(service.Main("sentence", doc, run)) }

func run(ctx context.Context, cfg config, log *slog.Logger) (err error) {
	var teardown service.Teardown
	defer func() { err = errors.Join(err, teardown.Run(cfg.ShutdownTimeout/2)) }()

	tracer, closeTracer, err := tracing.New(cfg.Tracing.Config("sentence", log))
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
	cluster.ClientID = "sentence"
	if err := service.WaitForTopics(ctx, cluster, log, cfg.EvenTopic, cfg.SentenceTopic, cfg.EvenDLQ); err != nil {
		return err
	}

	producer, err := kafkaclient.NewProducer(cluster, log, kafka.ConfigMap{"message.max.bytes": deadletter.MaxBytes})
	if err != nil {
		return err
	}
	teardown.Add("producer", producer.Close)

	random := newRandomClient(tracer, cfg.RandomURL)
	teardown.Add("random client", random.close)

	worker := &worker{tracer: tracer, random: random, producer: producer, topic: cfg.SentenceTopic}
	consumer, err := consume.New(consume.Config{
		Cluster:        cluster,
		Group:          group,
		InstanceID:     cfg.GroupInstanceID,
		SessionTimeout: cfg.SessionTimeout,
		Topic:          cfg.EvenTopic,
		InFlight:       inFlight,
		Ordered:        true,
		Handle:         worker.handle,
		SetAside:       deadletter.New(producer, cfg.EvenDLQ).SetAside,
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
