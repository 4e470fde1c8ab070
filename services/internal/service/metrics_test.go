package service

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/opentracing/opentracing-go"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fault-tolerant-tracing/tracing"
	"fault-tolerant-tracing/tracing/propagation"
)

func TestTracerMetricsTellWhatBaggageWasDropped(t *testing.T) {
	tracer, closeTracer, err := tracing.New(tracing.Config{
		Service: "s", Transport: tracing.Direct, Endpoint: "http://127.0.0.1:1/api/traces", Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	defer func() { assert.NoError(t, closeTracer(t.Context())) }()
	_, err = tracer.Extract(opentracing.HTTPHeaders, opentracing.TextMapCarrier{
		"uberctx-user id": "x", "uberctx-a:b": "x", "uberctx-k": strings.Repeat("x", propagation.MaxBaggageBytes),
	})
	require.NoError(t, err)
	assert.NoError(t, testutil.CollectAndCompare(TracerMetrics(tracer), strings.NewReader(`
# HELP tracing_baggage_dropped_total Baggage items that could not travel with a record or request, by reason: invalid_name or too_large.
# TYPE tracing_baggage_dropped_total counter
tracing_baggage_dropped_total{reason="invalid_name"} 2
tracing_baggage_dropped_total{reason="too_large"} 1
`)))
}
