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

	"fault-tolerant-tracing/services/internal/service"
	"fault-tolerant-tracing/services/internal/transform"
	"fault-tolerant-tracing/tracing"
)

const doc = `sentence makes a sum of each number: it reads even-topic, asks the service
random for a second number, and writes "6 + 1" to sentence-topic.

While random or Kafka is away or slow it holds and tries again; nothing is
skipped, and the order within a partition is kept. What is no integer is set
aside on even-dlq, with the reason.`

// group is the consumer group of all sentence services.
const group = "sentence-app"

func main() { os.Exit(service.Main("sentence", doc, run)) }

func run(ctx context.Context, cfg config, log *slog.Logger) (err error) {
	var teardown service.Teardown
	defer func() { err = errors.Join(err, teardown.Run(cfg.Common.ShutdownTimeout/2)) }()

	tracer, closeTracer, err := tracing.New(cfg.Tracing.Config("sentence", log))
	if err != nil {
		return err
	}
	teardown.Add("tracer", closeTracer)

	random := newRandomClient(tracer, cfg.RandomURL)
	teardown.Add("random client", random.close)

	return transform.Run(ctx, transform.Config{
		Service:  "sentence",
		Group:    group,
		From:     cfg.EvenTopic,
		To:       cfg.SentenceTopic,
		DLQ:      cfg.EvenDLQ,
		Func:     worker{random}.sentence,
		Kafka:    cfg.Kafka,
		Member:   cfg.Group,
		Common:   cfg.Common,
		HTTPAddr: cfg.HTTPAddr,
		Tracer:   tracer,
		Log:      log,
	}, &teardown)
}
