package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/opentracing/opentracing-go"
	"github.com/opentracing/opentracing-go/ext"
	"github.com/opentracing/opentracing-go/log"
	"github.com/spf13/cobra"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
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
		Use:    "client NAME BROKERS SPOOL LEDGER RATE",
		Short:  "Write so many traces a second until SIGTERM, and into a ledger how many spans",
		Hidden: true, // prove itself starts it
		Args:   cobra.ExactArgs(5),
		RunE: func(cmd *cobra.Command, args []string) error {
			rate, err := strconv.Atoi(args[4])
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, os.Interrupt)
			defer stop()
			return runClient(ctx, args[0], args[1], args[2], args[3], time.Second/time.Duration(rate))
		},
	}
}

// generator makes traces.
type generator struct {
	trace func(number func() int64) // makes one, and numbers its spans as they end
	close func(context.Context) error
}

// runClient makes a trace each interval until ctx ends. The ledger knows each span that has ended, and whether the client could send all
// of them.
func runClient(ctx context.Context, name, brokers, spool, dir string, interval time.Duration) (err error) {
	life := fmt.Sprintf("%s.%d.%d", name, os.Getpid(), time.Now().UnixMicro())
	ledger, err := newLedger(dir, life)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ledger.close()) }()
	g, err := newGenerator(ctx, name, life, kafkaclient.Cluster{Brokers: strings.Split(brokers, ","), ClientID: name}, spool)
	if err != nil {
		return err
	}
	tick := time.NewTicker(interval)
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

// newGenerator makes the kind that the client's name begins with.
func newGenerator(ctx context.Context, name, life string, kafka kafkaclient.Cluster, spool string) (*generator, error) {
	switch kind, _, _ := strings.Cut(name, "-"); kind {
	case "thrift":
		return newThriftGenerator(name, life, kafka, spool)
	case "otlp":
		exporter, err := otelkafka.New(otelkafka.Config{Kafka: kafka, SpoolDir: spool, Logger: slog.Default()})
		if err != nil {
			return nil, err
		}
		return newOTelGenerator(name, life, exporter), nil
	default: // straight to what the environment names
		exporter, err := otlptracehttp.New(ctx)
		if err != nil {
			return nil, err
		}
		return newOTelGenerator(name, life, exporter), nil
	}
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

func newOTelGenerator(name, life string, exporter sdktrace.SpanExporter) *generator {
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter, sdktrace.WithBatchTimeout(flushInterval)),
		sdktrace.WithIDGenerator(&ids{life: life}),
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
	}
}

// ids are those of the traces of one process: where a span is follows from its number. It is for one goroutine.
type ids struct {
	life          string
	traces, spans uint64 // so far
}

// NewIDs implements sdktrace.IDGenerator.
func (g *ids) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	g.traces++
	id := traceID(g.life, g.traces)
	return id, g.NewSpanID(ctx, id)
}

// NewSpanID implements sdktrace.IDGenerator.
func (g *ids) NewSpanID(context.Context, trace.TraceID) (id trace.SpanID) {
	g.spans++
	binary.BigEndian.PutUint64(id[:], g.spans)
	return id
}

// traceID is that of a trace of a process, of which the first is 1.
func traceID(life string, number uint64) (id trace.TraceID) {
	binary.BigEndian.PutUint64(id[:8], xxhash.Sum64String(life))
	binary.BigEndian.PutUint64(id[8:], number)
	return id
}
