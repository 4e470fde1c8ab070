package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/opentracing/opentracing-go"
	"github.com/opentracing/opentracing-go/ext"
	"github.com/opentracing/opentracing-go/log"
	"github.com/spf13/cobra"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"fault-tolerant-tracing/tracing"
	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/otelkafka"
)

// What every span of a client says, so that one that is missing is noticed.
const (
	lifeTag   = "prove.life"   // of the process
	numberTag = "prove.number" // of the span in it, from 1 on
)

// flushInterval is how long a client waits for more spans before it sends them.
const flushInterval = time.Second

// spansOfTrace is how many a client's trace has.
const spansOfTrace = 4

func clientCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "client NAME BROKERS SPOOL LEDGER",
		Short:  "Write spans until SIGTERM, and into a ledger how many",
		Hidden: true, // prove itself starts it
		Args:   cobra.ExactArgs(4),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, os.Interrupt)
			defer stop()
			return runClient(ctx, args[0], args[1], args[2], args[3])
		},
	}
}

// generator makes traces.
type generator struct {
	trace func(number func() int64) // makes one, and numbers its spans as they end
	close func(context.Context) error
}

// runClient makes traces until ctx ends. The ledger knows each span that has ended, and whether the client could send all of them.
func runClient(ctx context.Context, name, brokers, spool, dir string) (err error) {
	life := fmt.Sprintf("%s.%d.%d", name, os.Getpid(), time.Now().UnixMicro())
	ledger, err := newLedger(dir, life)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ledger.close()) }()
	start := newThriftGenerator
	if strings.HasPrefix(name, "otlp") {
		start = newOTLPGenerator
	}
	g, err := start(name, life, kafkaclient.Cluster{Brokers: strings.Split(brokers, ","), ClientID: name}, spool)
	if err != nil {
		return err
	}
	tick := time.NewTicker(time.Second / perSecond)
	defer tick.Stop()
	last := int64(0)
	for ctx.Err() == nil {
		g.trace(func() int64 { last++; return last })
		if err := ledger.ended(last); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	closing, cancel := context.WithTimeout(context.Background(), 8*time.Second)
	defer cancel()
	if err := g.close(closing); err != nil {
		return err
	}
	return ledger.complete()
}

func newThriftGenerator(name, life string, kafka kafkaclient.Cluster, spool string) (*generator, error) {
	tracer, closeTracer, err := tracing.New(tracing.Config{
		Service: name, Kafka: kafka, SpoolDir: spool, FlushInterval: flushInterval, Gen128Bit: true, Logger: slog.Default(),
		Tags: []opentracing.Tag{{Key: lifeTag, Value: life}},
	})
	if err != nil {
		return nil, err
	}
	return &generator{close: closeTracer, trace: func(number func() int64) {
		root := tracer.StartSpan("order", ext.SpanKindRPCServer)
		previous := root.Context()
		for i := range spansOfTrace - 1 {
			span := tracer.StartSpan(fmt.Sprint("step ", i), opentracing.ChildOf(root.Context()), opentracing.FollowsFrom(previous),
				opentracing.Tags{"step": i, "share": 0.25, "last": i == spansOfTrace-2, "text": "six\u00a0apples"})
			span.LogFields(log.String("event", "begun"), log.Int("attempt", i))
			span.SetTag(numberTag, number())
			span.Finish()
			previous = span.Context()
		}
		root.SetTag(numberTag, number())
		root.Finish()
	}}, nil
}

func newOTLPGenerator(name, life string, kafka kafkaclient.Cluster, spool string) (*generator, error) {
	exporter, err := otelkafka.New(otelkafka.Config{Kafka: kafka, SpoolDir: spool, Logger: slog.Default()})
	if err != nil {
		return nil, err
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter, sdktrace.WithBatchTimeout(flushInterval), sdktrace.WithMaxQueueSize(100_000)),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", name), attribute.String(lifeTag, life))),
	)
	tracer := provider.Tracer("prove", trace.WithInstrumentationVersion("1"))
	return &generator{
		close: func(ctx context.Context) error { return errors.Join(provider.Shutdown(ctx), exporter.Shutdown(ctx)) },
		trace: func(number func() int64) {
			ctx, root := tracer.Start(context.Background(), "order", trace.WithSpanKind(trace.SpanKindServer))
			previous := root.SpanContext()
			for i := range spansOfTrace - 1 {
				_, span := tracer.Start(ctx, fmt.Sprint("step ", i), trace.WithSpanKind(trace.SpanKindInternal),
					trace.WithLinks(trace.Link{SpanContext: previous}), trace.WithAttributes(attribute.Int("step", i),
						attribute.Float64("share", 0.25), attribute.Bool("last", i == spansOfTrace-2), attribute.String("text", "six\u00a0apples")))
				span.AddEvent("begun", trace.WithAttributes(attribute.Int("attempt", i)))
				if i == 0 {
					span.SetStatus(codes.Error, "out of apples")
				}
				span.SetAttributes(attribute.Int64(numberTag, number()))
				span.End()
				previous = span.SpanContext()
			}
			root.SetAttributes(attribute.Int64(numberTag, number()))
			root.End()
		},
	}, nil
}
