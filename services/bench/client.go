package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"time"

	"github.com/opentracing/opentracing-go"
	"github.com/spf13/cobra"

	"fault-tolerant-tracing/tracing"
	"fault-tolerant-tracing/tracing/kafkaclient"
)

const (
	spansPerSecond = 100 // of each client
	flushGrace     = 5 * time.Second
)

// client is a service that does nothing but finish spans, at a steady rate, with
// a tracer as every service has one: package tracing, its defaults, to Kafka.
type client struct {
	Service string
	Broker  string
	Topic   string
	Phase   time.Duration // to wait before the tracer is made, whose flushes are counted from there
}

// finished is what it tells on its standard output when it has ended.
type finished struct {
	Spans int
}

func clientCommand() *cobra.Command {
	var c client
	cmd := &cobra.Command{
		Use:    "client",
		Short:  "Finish spans until SIGTERM, and print how many",
		Hidden: true, // the benchmark starts it
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			spans, err := c.run(cmd.Context())
			if err != nil {
				return err
			}
			return json.NewEncoder(cmd.OutOrStdout()).Encode(finished{Spans: spans})
		},
	}
	cmd.Flags().StringVar(&c.Service, "service", "", "name in Jaeger")
	cmd.Flags().StringVar(&c.Broker, "broker", "", "address of Kafka")
	cmd.Flags().StringVar(&c.Topic, "topic", "", "for the spans")
	cmd.Flags().DurationVar(&c.Phase, "phase", 0, "how long to wait before the start")
	return cmd
}

// run finishes spans until ctx ends and returns how many, all of them on the
// topic.
func (c client) run(ctx context.Context) (spans int, err error) {
	if pause(ctx, time.Now().Add(c.Phase)) != nil {
		return 0, nil
	}
	tracer, closeTracer, err := tracing.New(tracing.Config{
		Service: c.Service,
		Kafka:   kafkaclient.Cluster{Brokers: []string{c.Broker}},
		Topic:   c.Topic,
		Logger:  slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return 0, err
	}
	spans = finishSpans(ctx, tracer)
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushGrace)
	defer cancel()
	return spans, closeTracer(closing)
}

// finishSpans keeps to its rate over time: what comes late does not delay what
// follows. Each span is the child of the one before, nine to a trace, which are
// finished at once: to wake a hundred times a second would be most of the work.
func finishSpans(ctx context.Context, tracer opentracing.Tracer) (spans int) {
	var last opentracing.Span
	for begin := time.Now(); ; spans++ {
		if spans%spansPerTrace == 0 && pause(ctx, begin.Add(time.Duration(spans)*time.Second/spansPerSecond)) != nil {
			return spans
		}
		options := []opentracing.StartSpanOption{opentracing.Tags{
			"span.kind": "consumer", "component": "confluent-kafka-go", "message_bus.destination": "number-topic",
			"partition": spans % 3, "offset": spans,
		}}
		if spans%spansPerTrace > 0 {
			options = append(options, opentracing.ChildOf(last.Context()))
		}
		last = tracer.StartSpan(operations[spans%spansPerTrace], options...)
		last.Finish()
	}
}

// pause blocks until a time, or until ctx ends, which is its error.
func pause(ctx context.Context, until time.Time) error {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
