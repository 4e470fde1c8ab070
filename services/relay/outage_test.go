package main

import (
	"log/slog"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fault-tolerant-tracing/services/internal/collector"
	"fault-tolerant-tracing/services/internal/collectortest"
	"fault-tolerant-tracing/services/internal/deliver"
	"fault-tolerant-tracing/services/internal/dispatch"
	"fault-tolerant-tracing/tracing/tracingtest"
)

// It begins with the first post that failed, not with the answer to that, and counts every
// one since.
func TestAnOutageIsATraceOfItsOwn(t *testing.T) {
	var asked time.Time
	jaeger := collectortest.Start(t, func(w http.ResponseWriter, _ collectortest.Post) {
		asked = time.Now()
		w.WriteHeader(503)
	})
	at, err := url.Parse(jaeger.URL())
	require.NoError(t, err)
	tracer, recorder := tracingtest.NewTracer(t, "relay")
	r := newRelay(deliver.Endpoint{Poster: collector.New(collector.OTLP(*at))}, tracer, slog.New(slog.DiscardHandler))
	work := r.dispatch(0)
	name := topic
	record := &dispatch.Record{Message: &kafka.Message{TopicPartition: kafka.TopicPartition{Topic: &name}, Value: newBatch(t, "a")}, Pieces: 1}
	post := func() error { return work.Handle(t.Context(), []dispatch.Part{{Record: record, To: 1}}) }
	began := time.Now()
	require.Error(t, post())
	first := asked
	require.Error(t, post())
	require.Error(t, post())
	jaeger.Answer(collectortest.Status(202))
	require.NoError(t, post())
	require.NoError(t, post())

	end := time.Now()
	work.Recovered(dispatch.Outage{Began: end, End: end, Attempts: 1, Records: 345, Errors: []string{"refused", "reset"}})
	span := tracingtest.Named(t, recorder.Spans(), "outage")
	assert.Equal(t, "relay", span.Service)
	assert.Empty(t, span.ParentID)
	assert.WithinRange(t, span.Start, began.Truncate(time.Microsecond), first)
	assert.WithinDuration(t, end, span.Start.Add(span.Duration), 10*time.Microsecond)
	assert.EqualValues(t, 3, span.Tags["attempts"])
	assert.EqualValues(t, 345, span.Tags["records.held"])
	assert.Equal(t, true, span.Tags["error"])
	assert.Equal(t, []map[string]any{{"event": "error", "message": "refused"}, {"event": "error", "message": "reset"}}, span.Logs)
}
