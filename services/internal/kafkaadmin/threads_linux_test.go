package kafkaadmin

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/tracingtest"
	"fault-tolerant-tracing/tracing/tracingtest/threads"
)

// The third thread of librdkafka is for the broker it is given: without it the client never speaks with Kafka.
func TestAClientThatCouldNotStartAThreadIsReplaced(t *testing.T) {
	broker := tracingtest.StartBroker(t)
	broker.CreateTopics(t, 1, "topic")
	threads.RefuseOne(t, 2)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	require.NoError(t, WaitForTopics(ctx, kafkaclient.Cluster{Brokers: []string{broker.Addr()}}, slog.New(slog.DiscardHandler), "topic"))
	assert.True(t, threads.Refused())
}
