package main

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"fault-tolerant-tracing/services/internal/service"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const patience = 30 * time.Second

func TestMain(m *testing.M) { tracingtest.VerifyMain(m) }

// newBroker has the topics that answer needs.
func newBroker(t *testing.T) *tracingtest.Broker {
	t.Helper()
	broker := tracingtest.StartBroker(t)
	broker.CreateTopics(t, 3, "sentence-topic", "answer-topic", "tracing-topic")
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()))
	require.NoError(t, err)
	defer client.Close()
	twoMiB := "2097152"
	_, err = kadm.NewClient(client).CreateTopic(context.Background(), 1, 1, map[string]*string{"max.message.bytes": &twoMiB}, "sentence-dlq")
	require.NoError(t, err)
	return broker
}

// start runs the program until stop is called, which returns what run does. Its
// spans go to the broker too, unless the settings say otherwise.
func start(t *testing.T, broker *tracingtest.Broker, settings ...string) (stop func() error) {
	t.Helper()
	var cfg config
	require.NoError(t, service.Load(&cfg, append(settings,
		"KAFKA_BROKERS="+broker.Addr(), "HTTP_ADDR=127.0.0.1:0", "SESSION_TIMEOUT=6s",
	)))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx, cfg, slog.New(slog.DiscardHandler)) }()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { require.NoError(t, stop()) })
	return stop
}

// produce writes records, each to the partition it names.
func produce(t *testing.T, broker *tracingtest.Broker, records ...*kgo.Record) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()), kgo.DefaultProduceTopic("sentence-topic"),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MetadataMinAge(100*time.Millisecond),
		kgo.ProducerBatchMaxBytes(16<<20), kgo.ProducerBatchCompression(kgo.ZstdCompression()))
	require.NoError(t, err)
	defer client.Close()
	require.NoError(t, client.ProduceSync(context.Background(), records...).FirstErr())
}
