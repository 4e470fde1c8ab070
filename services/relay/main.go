// Command relay carries spans from Kafka to Jaeger, and acknowledges a record
// only after Jaeger has taken it.
//
// It reads tracing-topic, posts to Jaeger's collector what waits at the same time
// in one post, and writes to tracing-dlq what Jaeger refuses while it takes others,
// with the reason. While Jaeger is away it
// holds: nothing is skipped, nothing is lost, and the first spans arrive within a
// second of Jaeger's return. It keeps no state of its own: killed at any moment, it
// goes on where its consumer group stands, and sends again at most what was on its
// way or finished behind that.
package main

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"fault-tolerant-tracing/services/internal/consume"
	"fault-tolerant-tracing/services/internal/deadletter"
	"fault-tolerant-tracing/services/internal/kafkaadmin"
	"fault-tolerant-tracing/services/internal/service"
	"fault-tolerant-tracing/tracing"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"golang.org/x/sync/errgroup"
)

const doc = `relay carries spans from Kafka to Jaeger and acknowledges a record only after
Jaeger took it.

It reads tracing-topic, posts the spans to Jaeger's collector, and sets aside on
tracing-dlq what Jaeger refuses while it takes others. While Jaeger is away it
holds and tries again; GET /status on HTTP_ADDR tells what it is doing.`

func main() {
	os.Exit(service.Main("relay", doc, run, dlqCommand(), replayCommand(), archiveCommand()))
}

func run(ctx context.Context, cfg config, log *slog.Logger) (err error) {
	limitMemory(memlimit.FromCgroup, log)
	var teardown service.Teardown
	defer func() { err = errors.Join(err, teardown.Run(cfg.Common.ShutdownTimeout/2)) }()

	tracer, closeTracer, err := tracing.New(cfg.Tracing.Config("relay", log))
	if err != nil {
		return err
	}
	teardown.Add("tracer", closeTracer)

	jaeger := backend{cfg.OTLP, cfg.Tracing.Collector, cfg.Format}
	endpoint, closeEndpoint := jaeger.open()
	teardown.Add("endpoint", func(context.Context) error { closeEndpoint(); return nil })
	var (
		flush func(context.Context) error
		watch = func(context.Context) {}
	)
	if cfg.Ack == verified {
		w := newWitness(endpoint.Poster, jaeger.connectOnce, ackWindow)
		teardown.Add("witness", func(context.Context) error { w.close(); return nil })
		endpoint.Poster, flush, watch = w, w.Flush, w.watch
	}
	relay := newRelay(endpoint, tracer, log)
	relay.ack = cfg.Ack
	teardown.Add("relay", relay.close)

	ops, err := service.Listen(cfg.HTTPAddr, log, relay.routes)
	if err != nil {
		return err
	}
	teardown.Add("http server", ops.Close)

	cluster := cfg.Tracing.Kafka.Cluster()
	cluster.ClientID = "relay"
	if err := kafkaadmin.WaitForTopics(ctx, cluster, log, cfg.Tracing.Topic); err != nil {
		return err
	}

	producer, err := deadletter.NewProducer(cluster, log)
	if err != nil {
		return err
	}
	teardown.Add("dead-letter producer", producer.Close)

	relay.dlq = deadletter.New(producer, cfg.DeadLetterTopic)
	consumer, err := consume.New(consume.Config{
		Cluster:        cluster,
		Group:          group,
		InstanceID:     cfg.Group.InstanceID,
		SessionTimeout: cfg.Group.SessionTimeout,
		Topic:          cfg.Tracing.Topic,
		Dispatch:       relay.dispatch(cfg.MaxSpansPerSecond),
		Flush:          flush,
		StopTimeout:    cfg.Common.ShutdownTimeout / 2,
		Log:            log,
	})
	if err != nil {
		return err
	}
	teardown.Add("consumer", consumer.Close)
	relay.consumer.Store(consumer)
	ops.Ready(consumer.Ready)
	ops.Metrics().MustRegister(append(relay.metrics.collectors(relay.dlq), relay.ledger, service.TracerMetrics(tracer), consume.Metrics(consumer.Status))...)

	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error { return ops.Wait(ctx) })
	work.Go(func() error { return consumer.Run(ctx) })
	work.Go(func() error { watch(ctx); return nil })
	work.Go(func() error { relay.metrics.watchRetention(ctx, cluster, cfg.Tracing.Topic, log); return nil })
	return work.Wait()
}
