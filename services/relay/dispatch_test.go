package main

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/opentracing/opentracing-go"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fault-tolerant-tracing/services/internal/collector"
	"fault-tolerant-tracing/services/internal/deadletter"
	"fault-tolerant-tracing/services/internal/deliver"
	"fault-tolerant-tracing/services/internal/dispatch"
	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/tracingtest"
)

func TestMaxSpansPerSecond(t *testing.T) {
	r := newRelay(deliver.Endpoint{Poster: collector.New(collector.Config{})}, opentracing.NoopTracer{}, slog.New(slog.DiscardHandler))
	assert.Nil(t, r.dispatch(0).Limit, "as many as there are")
	few := r.dispatch(10).Limit
	assert.EqualValues(t, 10, few.Limit())
	assert.Equal(t, deliver.MaxSpans, few.Burst(), "one post at a time must go")
	assert.Equal(t, 10_000, r.dispatch(10_000).Limit.Burst())
}

func TestWhatIsNotOnTheDeadLetterTopicIsNotSetAside(t *testing.T) {
	t.Parallel()
	r := newRelay(deliver.Endpoint{Poster: collector.New(collector.Config{})}, opentracing.NoopTracer{}, slog.New(slog.DiscardHandler))
	producer, err := deadletter.NewProducer(kafkaclient.Cluster{Brokers: []string{tracingtest.FreeAddr(t)}}, r.log)
	require.NoError(t, err)
	defer func() { assert.NoError(t, producer.Close(context.Background())) }()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.dlq = deadletter.New(producer, dlq)
	at := topic
	rec := &dispatch.Record{Message: &kafka.Message{TopicPartition: kafka.TopicPartition{Topic: &at}, Value: []byte("garbage")}}
	require.ErrorIs(t, r.setAside(ctx, dispatch.Part{Record: rec, To: 1}, errors.New("no batch")), context.Canceled)
	assert.Zero(t, testutil.CollectAndCount(r.metrics.asides), "nor counted")
}
