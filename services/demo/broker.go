package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"fault-tolerant-tracing/tracing/tracingtest"
)

func brokerCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "broker ADDRESS FOLDER",
		Short:  "Run the Kafka broker, with what it keeps in a folder, until SIGTERM",
		Hidden: true, // the demo itself starts it
		Args:   cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
			defer stop()
			return runBroker(ctx, args[0], args[1])
		},
	}
}

// runBroker runs a broker until ctx ends. What it has acknowledged is there again for the next one with the same folder, however
// this one ends.
func runBroker(ctx context.Context, address, folder string) error {
	broker, err := tracingtest.NewBroker(address, folder, kfake.WithLogger(kfake.BasicLogger(os.Stderr, kfake.LogLevelWarn)))
	if err != nil {
		return err
	}
	slog.Info("listening", "address", address)
	<-ctx.Done()
	broker.Stop()
	slog.Info("stopped")
	return nil
}

// startKafka starts the broker and returns when it answers.
func (d *demo) startKafka(ctx context.Context) error {
	err := d.keep(ctx, "kafka", func(context.Context) (process, error) {
		return startChild(d.supervisor, "kafka", d.log("kafka"), environment(), append(slices.Clone(d.broker), d.brokers()[0], d.data("kafka"))...)
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
