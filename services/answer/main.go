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

	"fault-tolerant-tracing/services/internal/service"
	"fault-tolerant-tracing/services/internal/transform"
	"fault-tolerant-tracing/tracing"
)

const doc = `answer works out each sentence: it reads "6 + 1" from sentence-topic and writes
the sum, as JSON, to answer-topic.

While Kafka is away it holds and tries again; nothing is skipped, and the order
within a partition is kept. What is no such sentence is set aside on
sentence-dlq, with the reason.`

// group is the consumer group of all answer services.
const group = "answer-app"

func main() { os.Exit(service.Main("answer", doc, run)) }

func run(ctx context.Context, cfg config, log *slog.Logger) (err error) {
	var teardown service.Teardown
	defer func() { err = errors.Join(err, teardown.Run(cfg.Common.ShutdownTimeout/2)) }()

	tracer, closeTracer, err := tracing.New(cfg.Tracing.Config("answer", log))
	if err != nil {
		return err
	}
	teardown.Add("tracer", closeTracer)

	return transform.Run(ctx, transform.Config{
		Service:  "answer",
		Group:    group,
		From:     cfg.SentenceTopic,
		To:       cfg.AnswerTopic,
		DLQ:      cfg.SentenceDLQ,
		Func:     answerTo,
		Kafka:    cfg.Kafka,
		Member:   cfg.Group,
		Common:   cfg.Common,
		HTTPAddr: cfg.HTTPAddr,
		Tracer:   tracer,
		Log:      log,
	}, &teardown)
}
