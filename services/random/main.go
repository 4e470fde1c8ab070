// Command random draws numbers: it answers POST /random with one from 0 to 9.
//
// It reads and writes no topic. Its spans go to tracing-topic; when they cannot,
// it answers all the same.
package main

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"fault-tolerant-tracing/services/internal/service"
	"fault-tolerant-tracing/tracing"
)

const doc = `random draws numbers: it answers POST /random on HTTP_ADDR with {"number":n},
n from 0 to 9.

Its spans go to tracing-topic; while Kafka is away it answers all the same.`

func main() { os.Exit(service.Main("random", doc, run)) }

func run(ctx context.Context, cfg config, log *slog.Logger) (err error) {
	service.CollectSeldom()
	var teardown service.Teardown
	defer func() { err = errors.Join(err, teardown.Run(cfg.Common.ShutdownTimeout)) }()

	tracer, closeTracer, err := tracing.New(cfg.Tracing.Config("random", log))
	if err != nil {
		return err
	}
	teardown.Add("tracer", closeTracer)

	ops, err := service.Listen(cfg.HTTPAddr, log, routes(tracer))
	if err != nil {
		return err
	}
	teardown.Add("http server", ops.Close)
	ops.Metrics().MustRegister(service.TracerMetrics(tracer))
	ops.Ready(func() error { return nil })
	return ops.Wait(ctx)
}
