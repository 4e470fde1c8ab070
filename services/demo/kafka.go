package main

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"fault-tolerant-tracing/services/internal/local"
)

// startKafka starts the broker and returns when it answers.
func (d *demo) startKafka(ctx context.Context) error {
	err := d.keep(ctx, "kafka", func(context.Context) (local.Process, error) {
		return local.Start(d.supervisor, "kafka", d.log("kafka"), environment(), append(slices.Clone(d.broker), d.brokers()[0], d.data("kafka"))...)
	})
	if err != nil {
		return err
	}
	return d.awaitKafka(ctx)
}

// awaitKafka returns when Kafka answers: it may have been killed a moment ago.
func (d *demo) awaitKafka(ctx context.Context) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(d.brokers()...))
	if err != nil {
		return err
	}
	defer client.Close()
	return d.until(ctx, startTimeout, func(ctx context.Context, progress func(string)) (bool, error) {
		progress("Kafka does not answer")
		return client.Ping(ctx) == nil, nil // if it has ended, that is noticed elsewhere
	})
}
