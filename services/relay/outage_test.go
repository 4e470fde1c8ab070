package main

import (
	"log/slog"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"fault-tolerant-tracing/services/internal/collector"
	"fault-tolerant-tracing/services/internal/deliver"
	"fault-tolerant-tracing/services/internal/dispatch"
	"fault-tolerant-tracing/tracing/tracingtest"
)

func TestAnOutageIsATraceOfItsOwn(t *testing.T) {
	tracer, recorder := tracingtest.NewTracer(t, "relay")
	r := newRelay(deliver.Endpoint{Poster: collector.New(collector.OTLP(url.URL{Scheme: "http", Host: "jaeger:4318"}))}, tracer, slog.New(slog.DiscardHandler))
	began := time.UnixMicro(1_700_000_000_000_000)
	r.dispatch(0).Recovered(dispatch.Outage{Began: began, End: began.Add(90 * time.Second), Attempts: 12, Records: 345, Errors: []string{"refused", "reset"}})
	span := tracingtest.Named(t, recorder.Spans(), "outage")
	assert.Equal(t, "relay", span.Service)
	assert.Empty(t, span.ParentID)
	assert.Equal(t, began, span.Start)
	assert.Equal(t, 90*time.Second, span.Duration)
	assert.EqualValues(t, 12, span.Tags["attempts"])
	assert.EqualValues(t, 345, span.Tags["records.held"])
	assert.Equal(t, true, span.Tags["error"])
	assert.Equal(t, []map[string]any{{"event": "error", "message": "refused"}, {"event": "error", "message": "reset"}}, span.Logs)
}
