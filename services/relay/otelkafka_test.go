package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"

	"fault-tolerant-tracing/services/internal/jaeger"
	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/otelkafka"
)

// Spans of the OpenTelemetry SDK come through an outage of Jaeger, and the ledger knows
// them.
func TestSpansOfTheOpenTelemetrySDKSurviveAnOutage(t *testing.T) {
	p := jaeger.StartForTest(t)
	r := startRelay(t, p.OTLPEndpoint())
	exporter, err := otelkafka.New(otelkafka.Config{Kafka: kafkaclient.Cluster{Brokers: []string{r.broker.Addr()}}})
	require.NoError(t, err)
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter, sdktrace.WithBatchTimeout(10*time.Millisecond)),
		sdktrace.WithResource(resource.NewSchemaless(semconv.ServiceName("otel-client"))))
	tracer := provider.Tracer("test")
	ctx, root := tracer.Start(t.Context(), "root")
	const n = 100
	finish := func(from int) {
		for i := range n {
			_, span := tracer.Start(ctx, fmt.Sprint("child-", from+i))
			span.End()
		}
		require.NoError(t, provider.ForceFlush(t.Context()))
	}
	finish(0)
	r.eventually("the first are delivered", func() bool { return r.count("done") > 0 && r.pending() == 0 })
	require.NoError(t, p.Kill())
	finish(n)
	r.eventually("the relay holds", func() bool { return r.status()["state"] == "holding" })
	require.NoError(t, p.Start(t.Context()))
	finish(2 * n)
	root.End()
	require.NoError(t, provider.Shutdown(t.Context()))
	require.NoError(t, exporter.Shutdown(t.Context()))

	q := jaeger.NewQuery(p.QueryURL())
	t.Cleanup(q.Close)
	id := root.SpanContext().TraceID().String()
	r.eventually("all of the trace is there", func() bool {
		trace, err := q.Trace(t.Context(), id)
		return err == nil && len(trace.Spans) == 3*n+1
	})
	known, _ := r.status()["ledger"].(map[string]any)
	assert.EqualValues(t, 0, known["batches_missing"])
	assert.EqualValues(t, 0, known["records_outside"])
	assert.EqualValues(t, 1, known["clients"].(map[string]any)["known"])
}
