package scan

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/tracingtest"
)

const topic = "tracing-topic"

func TestMain(m *testing.M) { tracingtest.VerifyMain(m) }

var begin = time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)

// start returns a broker with records on two partitions, one per minute from
// begin on, in turn: "0" to "9".
func start(t *testing.T) (*tracingtest.Broker, *kgo.Client) {
	t.Helper()
	broker := tracingtest.StartBroker(t)
	broker.CreateTopics(t, 2, topic)
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, err)
	t.Cleanup(client.Close)
	for i := range 10 {
		produce(t, client, int32(i%2), begin.Add(time.Duration(i)*time.Minute), fmt.Sprint(i))
	}
	return broker, client
}

func produce(t *testing.T, client *kgo.Client, partition int32, at time.Time, value string) {
	t.Helper()
	r := &kgo.Record{Topic: topic, Partition: partition, Timestamp: at, Value: []byte(value)}
	require.NoError(t, client.ProduceSync(t.Context(), r).FirstErr())
}

func open(t *testing.T, broker *tracingtest.Broker) *Topic {
	t.Helper()
	scanned, err := Open(t.Context(), kafkaclient.Cluster{Brokers: []string{broker.Addr()}}, topic)
	require.NoError(t, err)
	t.Cleanup(scanned.Close)
	return scanned
}

// values reads the ranges, by partition.
func values(t *testing.T, scanned *Topic, ranges []Range) map[int32][]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // what waits for what will not come is a failure
	defer cancel()
	got := map[int32][]string{}
	require.NoError(t, scanned.Read(ctx, ranges, func(m *kafka.Message) error {
		got[m.TopicPartition.Partition] = append(got[m.TopicPartition.Partition], string(m.Value))
		return nil
	}))
	return got
}

func TestReadGivesARangeAndNotMore(t *testing.T) {
	broker, client := start(t)
	scanned := open(t, broker)
	all, err := scanned.All()
	require.NoError(t, err)
	assert.Equal(t, []Range{{0, 0, 5}, {1, 0, 5}}, all)
	assert.EqualValues(t, 10, Records(all))
	produce(t, client, 0, begin, "later")

	assert.Equal(t, map[int32][]string{0: {"0", "2", "4", "6", "8"}, 1: {"1", "3", "5", "7", "9"}}, values(t, scanned, all))
	assert.Equal(t, map[int32][]string{1: {"5", "7"}}, values(t, scanned, []Range{{0, 2, 2}, {1, 2, 4}}))
	assert.Empty(t, values(t, scanned, nil))

	groups, err := kadm.NewClient(client).ListGroups(t.Context())
	require.NoError(t, err)
	assert.Empty(t, groups, "nobody reads in a group")
}

func TestBetweenTimes(t *testing.T) {
	broker, _ := start(t)
	scanned := open(t, broker)
	minute := func(n int) time.Time { return begin.Add(time.Duration(n) * time.Minute) }
	for _, tt := range []struct {
		name     string
		from, to time.Time
		want     []Range
	}{
		{"all", time.Time{}, time.Time{}, []Range{{0, 0, 5}, {1, 0, 5}}},
		{"from a record on", minute(4), time.Time{}, []Range{{0, 2, 5}, {1, 2, 5}}},
		{"up to a record", time.Time{}, minute(4), []Range{{0, 0, 2}, {1, 0, 2}}},
		{"between records", minute(3).Add(-time.Second), minute(6).Add(time.Second), []Range{{0, 2, 4}, {1, 1, 3}}},
		{"before the first", minute(-9), minute(-1), []Range{{0, 0, 0}, {1, 0, 0}}},
		{"after the last", minute(20), time.Time{}, []Range{{0, 5, 5}, {1, 5, 5}}},
		{"to the future", minute(8), minute(99), []Range{{0, 4, 5}, {1, 4, 5}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ranges, err := scanned.Between(tt.from, tt.to)
			require.NoError(t, err)
			assert.Equal(t, tt.want, ranges)
		})
	}
}

func TestReadPassesOverWhatWasRemoved(t *testing.T) {
	broker, client := start(t)
	scanned := open(t, broker)
	all, err := scanned.All()
	require.NoError(t, err)
	offsets := kadm.Offsets{}
	offsets.AddOffset(topic, 0, 3, -1)
	offsets.AddOffset(topic, 1, 5, -1)
	_, err = kadm.NewClient(client).DeleteRecords(t.Context(), offsets)
	require.NoError(t, err)
	assert.Equal(t, map[int32][]string{0: {"6", "8"}}, values(t, scanned, all))
	assert.Empty(t, values(t, scanned, []Range{{0, 0, 2}}), "the first record that is left lies behind")
}

func TestReadEndsWhenToldTo(t *testing.T) {
	broker, _ := start(t)
	scanned := open(t, broker)
	all, err := scanned.All()
	require.NoError(t, err)
	boom := errors.New("boom")
	assert.ErrorIs(t, scanned.Read(t.Context(), all, func(*kafka.Message) error { return boom }), boom)

	ctx, cancel := context.WithCancel(t.Context())
	assert.ErrorIs(t, scanned.Read(ctx, all, func(*kafka.Message) error { cancel(); return nil }), context.Canceled)
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	broker := tracingtest.StartBroker(t)
	_, err := Open(t.Context(), kafkaclient.Cluster{Brokers: []string{broker.Addr()}}, topic)
	assert.EqualError(t, err, "kafka at "+broker.Addr()+" has no topic tracing-topic")

	broker.Stop()
	asked := time.Now()
	_, err = Open(t.Context(), kafkaclient.Cluster{Brokers: []string{broker.Addr()}}, topic)
	assert.ErrorContains(t, err, "kafka at "+broker.Addr()+" does not answer: ")
	assert.ErrorContains(t, err, "Connection refused")
	assert.Less(t, time.Since(asked), 25*time.Second)
}
