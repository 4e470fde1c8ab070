package service

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"fault-tolerant-tracing/services/internal/consume"
	"fault-tolerant-tracing/tracing"
	"fault-tolerant-tracing/tracing/propagation"

	"github.com/opentracing/opentracing-go"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestConsumerMetricsTellItsStatus(t *testing.T) {
	status := consume.Status{
		State:      consume.Holding,
		InFlight:   2,
		Counts:     consume.Counts{Done: 7, Skipped: 1, SetAside: 3, Retries: 9, CommitErrors: 4},
		Partitions: []consume.PartitionStatus{{Partition: 0, Lag: 12}, {Partition: 1, Lag: -1}},
	}
	m := ConsumerMetrics(func() consume.Status { return status })
	assert.NoError(t, testutil.CollectAndCompare(m, strings.NewReader(`
# HELP consumer_commit_errors_total Commits of offsets that Kafka refused; they go with the next one.
# TYPE consumer_commit_errors_total counter
consumer_commit_errors_total 4
# HELP consumer_holding 1 while what the consumer needs is away and it waits, else 0.
# TYPE consumer_holding gauge
consumer_holding 1
# HELP consumer_in_flight Records being worked on.
# TYPE consumer_in_flight gauge
consumer_in_flight 2
# HELP consumer_lag Records of an assigned partition that are not finished.
# TYPE consumer_lag gauge
consumer_lag{partition="0"} 12
# HELP consumer_oldest_unfinished_age_seconds Age of the oldest record that was read and is not finished; 0 if there is none.
# TYPE consumer_oldest_unfinished_age_seconds gauge
consumer_oldest_unfinished_age_seconds 0
# HELP consumer_records_total Records finished, by result: done, skipped or set_aside.
# TYPE consumer_records_total counter
consumer_records_total{result="done"} 7
consumer_records_total{result="set_aside"} 3
consumer_records_total{result="skipped"} 1
# HELP consumer_retries_total Tries of a record that failed for the time being.
# TYPE consumer_retries_total counter
consumer_retries_total 9
`)))
	status.Oldest = new(time.Now().Add(-time.Hour))
	age := "consumer_oldest_unfinished_age_seconds"
	assert.Equal(t, 1, testutil.CollectAndCount(m, age))
	problems := testutil.CollectAndCompare(m, strings.NewReader("# HELP x\n"), age)
	assert.ErrorContains(t, problems, age+" 3600.")
	status.State = consume.Delivering
	assert.NoError(t, testutil.CollectAndCompare(m, strings.NewReader(`
# HELP consumer_holding 1 while what the consumer needs is away and it waits, else 0.
# TYPE consumer_holding gauge
consumer_holding 0
`), "consumer_holding"))
}

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
