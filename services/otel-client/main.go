// Command otel-client is a program that knows OpenTelemetry and nothing of Jaeger's client: it asks random for numbers, each in a
// trace of its own that goes on in random, and exits.
//
// Its spans go to tracing-topic as OTLP, beside those of the services.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	"go.opentelemetry.io/otel/trace"

	"fault-tolerant-tracing/services/internal/service"
	"fault-tolerant-tracing/tracing/otelkafka"
)

const doc = `otel-client stands for a program that is traced with OpenTelemetry: it asks random
for numbers, REQUESTS times, each in a trace of its own that goes on in random.

Its spans go to TRACING_TOPIC as OTLP. It exits 0 when Kafka has all of them.`

const requestTimeout = 10 * time.Second

func main() { os.Exit(service.Main("otel-client", doc, run)) }

func run(ctx context.Context, cfg config, log *slog.Logger) (err error) {
	var teardown service.Teardown
	defer func() { err = errors.Join(err, teardown.Run(cfg.Common.ShutdownTimeout)) }()

	exporter, err := otelkafka.New(otelkafka.Config{Kafka: cfg.Kafka.Cluster(), Topic: cfg.Topic, SpoolDir: cfg.SpoolDir, Logger: log})
	if err != nil {
		return err
	}
	attributes, err := resource.New(ctx, resource.WithAttributes(semconv.ServiceName("otel-client")), resource.WithTelemetrySDK(),
		resource.WithHost(), resource.WithFromEnv())
	if err != nil {
		return fmt.Errorf("read OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(attributes))
	teardown.Add("tracer", func(ctx context.Context) error {
		return errors.Join(provider.Shutdown(ctx), exporter.Shutdown(ctx)) // only the exporter tells what was left behind
	})

	tracer, url := provider.Tracer("otel-client"), cfg.RandomURL.JoinPath("random").String()
	for range cfg.Requests {
		if err := ask(ctx, tracer, url); err != nil {
			return err
		}
	}
	log.Info("all numbers are there", "requests", cfg.Requests)
	return nil
}

// ask asks random for a number. The context of the trace travels in traceparent.
func ask(ctx context.Context, tracer trace.Tracer, url string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	ctx, span := tracer.Start(ctx, "ask for a number", trace.WithSpanKind(trace.SpanKindClient))
	defer func() {
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		return err
	}
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(req.Header))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask random for a number: %w", err)
	}
	defer resp.Body.Close()
	span.SetAttributes(semconv.HTTPRequestMethodPost, semconv.URLFull(url), semconv.HTTPResponseStatusCode(resp.StatusCode))
	if resp.StatusCode != http.StatusOK {
		return errors.New("ask random for a number: it answered " + resp.Status)
	}
	return nil
}
