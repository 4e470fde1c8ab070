package consume

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/tracingtest"
)

// startReader makes a reader, and partition 0 of the topic with the values "0" to "299"
// at the offsets of the same numbers.
func startReader(t *testing.T) (*reader, *tracingtest.Broker, *kgo.Client) {
	t.Helper()
	broker := tracingtest.StartBroker(t)
	broker.CreateTopics(t, 2, testTopic)
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()), kgo.DefaultProduceTopic(testTopic), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, err)
	t.Cleanup(client.Close)
	produce(t, client, 0, 300)
	r := &reader{cfg: Config{
		Cluster: kafkaclient.Cluster{Brokers: []string{broker.Addr()}}, Group: testGroup, Topic: testTopic,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}}
	t.Cleanup(r.close)
	return r, broker, client
}

// removeBefore removes the records of partition 0 before an offset, as retention does.
func removeBefore(t *testing.T, client *kgo.Client, offset int64) {
	t.Helper()
	offsets := kadm.Offsets{}
	offsets.AddOffset(testTopic, 0, offset, -1)
	_, err := kadm.NewClient(client).DeleteRecords(t.Context(), offsets)
	require.NoError(t, err)
}

// assertReads has these offsets read, and compares those of the records.
func assertReads(t *testing.T, r *reader, partition int32, offsets []int64, want ...int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience/2) // what waits for what will not come is a failure
	defer cancel()
	got, err := r.fetch(ctx, partition, offsets)
	require.NoError(t, err)
	assert.Equal(t, want, slices.Sorted(maps.Keys(got)))
	for offset, m := range got {
		assert.EqualValues(t, offset, m.TopicPartition.Offset)
		assert.Equal(t, partition, m.TopicPartition.Partition)
	}
}

func TestReaderReadsWhatItIsAskedFor(t *testing.T) {
	t.Parallel()
	r, _, client := startReader(t)
	for _, offsets := range [][]int64{
		{0}, {299}, {7, 8, 9}, {0, 299},
		{10, 10 + maxGap, 11 + 2*maxGap}, // passed over, and asked for anew
		{120, 3 + 120}, {5},
	} {
		assertReads(t, r, 0, offsets, offsets...)
	}
	got, err := r.fetch(t.Context(), 0, []int64{3, 42})
	require.NoError(t, err)
	assert.Equal(t, []string{"3", "42"}, []string{string(got[3].Value), string(got[42].Value)})
	assertReads(t, r, 1, []int64{0}) // of an empty partition

	groups, err := kadm.NewClient(client).ListGroups(t.Context())
	require.NoError(t, err)
	assert.Empty(t, groups, "it joins none")
}

func TestReaderLeavesOutWhatIsGone(t *testing.T) {
	t.Parallel()
	r, _, client := startReader(t)
	assertReads(t, r, 0, []int64{298, 299, 300, 1000}, 298, 299) // a topic made anew may be shorter
	removeBefore(t, client, 100)
	assertReads(t, r, 0, []int64{5})
	assertReads(t, r, 0, []int64{5, 98, 100, 250}, 100, 250)
	removeBefore(t, client, 300)
	assertReads(t, r, 0, []int64{5, 298, 299})
}

func TestReaderEndsWithItsContext(t *testing.T) {
	t.Parallel()
	r, broker, _ := startReader(t)
	assertReads(t, r, 0, []int64{1}, 1)
	broker.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := r.fetch(ctx, 0, []int64{1})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.ErrorContains(t, err, "read input, partition 0, from offset 1 again: ")
	assert.Less(t, time.Since(began), readTimeout/2)

	require.NoError(t, broker.Start())
	assertReads(t, r, 0, []int64{1}, 1)
}
