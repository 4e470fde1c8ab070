package tracing

import (
	"strings"
	"testing"

	"fault-tolerant-tracing/tracing/batch"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/opentracing/opentracing-go/log"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestTopicMissingForLongerThanTheClientWaits(t *testing.T) {
	b := tracingtest.StartBroker(t)
	tr, lines := startTransport(t, TransportConfig{Kafka: cluster(b.Addr())},
		kafka.ConfigMap{"topic.metadata.propagation.max.ms": 100})
	spans := newSource(t)
	spans.feed(t, tr, 300)
	lines.wait(t, "kafka did not take spans")
	spans.feed(t, tr, 100)
	b.CreateTopics(t, 3, DefaultTopic)
	assertInOrder(t, waitSpans(t, b, 400), 400)
	assert.Equal(t, 1, lines.count("kafka did not take spans"), "once per burst")
	lines.wait(t, "spans reach kafka again")
	assert.Equal(t, batch.Stats{}, tr.Stats())
}

// A broker that lost its memory does not know the idempotent producer any more.
func TestBrokerWithoutItsProducerState(t *testing.T) {
	addr := tracingtest.FreeAddr(t)
	b, err := tracingtest.NewBroker(addr, "")
	require.NoError(t, err)
	t.Cleanup(b.Stop)
	b.CreateTopics(t, 1, DefaultTopic)
	tr, lines := startTransport(t, TransportConfig{Kafka: cluster(addr)}, nil)
	spans := newSource(t)
	spans.feed(t, tr, 300)
	waitSpans(t, b, 300)

	b.Stop()
	spans.feed(t, tr, 300)
	require.NoError(t, b.Start())
	b.CreateTopics(t, 1, DefaultTopic)
	spans.feed(t, tr, 300)

	lines.wait(t, "kafka producer failed for good")
	require.NoError(t, tr.Shutdown(ending(t, patience)))
	got := readBatches(t, b, 6)
	assert.Subset(t, operations(got), names(300, 900))
	assert.Equal(t, batch.Stats{}, tr.Stats())
}

func TestRecordTheTopicRefusesDoesNotHoldUpTheRest(t *testing.T) {
	b := startBroker(t)
	limitTopic(t, b, "20000")
	tr, lines := startTransport(t, TransportConfig{Kafka: cluster(b.Addr())}, nil)
	spans := newSource(t)
	for range 10 {
		spans.feed(t, tr, 1, log.String("payload", strings.Repeat("x", 9000)))
		_, _ = tr.Flush()
	}
	spans.feed(t, tr, 1, log.String("payload", strings.Repeat("x", 30_000))) // can never be taken
	_, _ = tr.Flush()
	spans.feed(t, tr, 1)
	_, _ = tr.Flush()

	require.Eventually(t, func() bool { return tr.Stats().FailedToEmit > 0 }, patience, tick)
	require.NoError(t, tr.Shutdown(ending(t, patience)))
	batches := readBatches(t, b, 12)
	assert.Equal(t, append(names(0, 10), "span-11"), operations(batches))
	assert.Equal(t, batch.Stats{FailedToEmit: 1}, statsOf(batches[len(batches)-1]))
	assert.Equal(t, 1, lines.count("kafka refuses a record as too large"))
}

func limitTopic(t *testing.T, b *tracingtest.Broker, maxBytes string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()))
	require.NoError(t, err)
	defer client.Close()
	answers, err := kadm.NewClient(client).AlterTopicConfigs(ending(t, patience),
		[]kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: &maxBytes}}, DefaultTopic)
	require.NoError(t, err)
	_, err = answers.On(DefaultTopic, nil)
	require.NoError(t, err)
}
