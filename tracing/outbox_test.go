package tracing

import (
	"slices"
	"strings"
	"testing"
	"time"

	"fault-tolerant-tracing/tracing/batch"
	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/opentracing/opentracing-go/log"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestTopicMissingForLongerThanTheClientWaits(t *testing.T) {
	t.Parallel()
	b := tracingtest.StartBroker(t)
	tr, lines := startTransport(t, TransportConfig{Kafka: cluster(b.Addr())},
		kafka.ConfigMap{"topic.metadata.propagation.max.ms": 100})
	spans := newSource(t)
	spans.feed(t, tr, 300)
	lines.Wait(t, "kafka did not take spans")
	spans.feed(t, tr, 100)
	b.CreateTopics(t, 3, DefaultTopic)
	assertInOrder(t, waitSpans(t, b, 400), 400)
	assert.Equal(t, 1, lines.Count("kafka did not take spans"), "once per burst")
	lines.Wait(t, "spans reach kafka again")
	assert.Equal(t, batch.Stats{}, tr.Stats())
}

func TestCloseLogsWhatItLeavesBehind(t *testing.T) {
	tr, lines := startTransport(t, TransportConfig{Kafka: cluster(tracingtest.FreeAddr(t))}, nil)
	newSource(t).feed(t, tr, 7)
	left := tr.Shutdown(ending(t, 0)) // of which Close tells: it has five seconds itself
	require.ErrorContains(t, left, "7 span(s) left behind")
	require.Same(t, left, tr.Close())
	assert.Equal(t, 1, lines.Count(`level=WARN msg="tracing transport closed" err="7 span(s) left behind`))
}

// A broker that lost its memory does not know the idempotent producer any more.
func TestBrokerWithoutItsProducerState(t *testing.T) {
	t.Parallel()
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

	lines.Wait(t, "kafka producer failed for good")
	require.NoError(t, tr.Shutdown(ending(t, patience)))
	got := readBatches(t, b, 6)
	assert.Subset(t, operations(got), names(300, 900))
	assert.Equal(t, batch.Stats{}, tr.Stats())
}

func TestRecordTheTopicRefusesDoesNotHoldUpTheRest(t *testing.T) {
	t.Parallel()
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
	assert.Equal(t, 1, lines.Count("kafka refuses a record as too large"))
}

func TestABatchTheTopicRefusesIsHalvedUntilItIsTaken(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	limitTopic(t, b, "20000")
	tr, lines := startTransport(t, TransportConfig{Kafka: cluster(b.Addr())}, nil)
	spans := newSource(t)
	kilobyte := log.String("payload", strings.Repeat("x", 1000))
	spans.feed(t, tr, 30, kilobyte)
	spans.feed(t, tr, 1, log.String("payload", strings.Repeat("x", 30_000))) // can never be taken
	spans.feed(t, tr, 69, kilobyte)                                          // completes the batch
	spans.feed(t, tr, 1)

	require.NoError(t, tr.Shutdown(ending(t, patience)))
	batches := waitSpans(t, b, 100)
	assert.Equal(t, append(names(0, 30), names(31, 101)...), operations(batches))
	numbers := seqNos(batches)
	assert.Equal(t, []int64{1, 2}, slices.Compact(numbers), "the parts share the number of their batch")
	assert.Equal(t, batch.Stats{FailedToEmit: 1}, tr.Stats())
	assert.Equal(t, 1, lines.Count("kafka refuses a record as too large"))
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

func TestSpansWaitForARenewedCertificate(t *testing.T) {
	t.Parallel()
	authority := tracingtest.NewAuthority(t)
	b := tracingtest.StartBroker(t, kfake.TLS(authority.ServerTLS(t)), kfake.SeedTopics(1, DefaultTopic))
	files := authority.NewPEMFiles(t, time.Now().Add(-time.Second))
	to := cluster(b.Addr())
	to.RefreshInterval = 50 * time.Millisecond
	to.Security = kafkaclient.Security{Protocol: "SSL", TLSCAFile: files.CA, TLSCertFile: files.Cert, TLSKeyFile: files.Key}
	tr, lines := startTransport(t, TransportConfig{Kafka: to}, nil)
	newSource(t).feed(t, tr, 1)
	_, _ = tr.Flush()
	lines.Wait(t, "certificate expired")

	authority.Renew(t, files, time.Now().Add(time.Hour))
	require.NoError(t, tr.Shutdown(ending(t, patience)), "it was not acknowledged")
	assert.Equal(t, batch.Stats{}, tr.Stats())
	assert.EqualValues(t, 1, b.Cluster().PartitionInfo(DefaultTopic, 0).HighWatermark)
}
