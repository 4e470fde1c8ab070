// Command topic-config makes the topics of the system, and exits when every one
// of them is there.
//
// It waits for Kafka. What exists already stays as it is; where its settings
// differ from those wanted, it says so. So it can be run any time, and again.
// Its spans go to tracing-topic, one trace for each run.
package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"fault-tolerant-tracing/services/internal/service"
	"fault-tolerant-tracing/tracing"
)

const doc = `topic-config makes the topics of the system, waiting for Kafka if need be, and
exits 0 when every one of them is there, and only then.

A topic that exists stays as it is; where its settings differ from those below,
a line of the log says so. Tracing's topics are made where TRACING_KAFKA_* points
to. --healthcheck tells whether all topics are there.`

func main() { os.Exit(service.Main("topic-config", doc, run)) }

func run(ctx context.Context, cfg config, log *slog.Logger) (err error) {
	var teardown service.Teardown
	defer func() { err = errors.Join(err, teardown.Run(cfg.Common.ShutdownTimeout)) }()

	tracer, closeTracer, err := tracing.New(cfg.Tracing.Config("topic-config", log))
	if err != nil {
		return err
	}
	teardown.Add("tracer", closeTracer)

	begin := time.Now()
	var results []*result
	for _, t := range cfg.targets() {
		made, err := makeTopics(ctx, t.cluster, t.topics, log)
		if err != nil {
			return stopped(ctx, err)
		}
		results = append(results, made...)
	}
	trace(tracer, begin, results)
	log.Info("all topics are there", "topics", len(results))
	return nil
}

// stopped is err, unless ctx has ended: stopping early is no success here.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("stopped before every topic was there")
	}
	return err
}
