package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestNumbersAndPoisonOnABroker(t *testing.T) {
	t.Parallel()
	b := startBroker(t, 3)
	tracer, recorder := tracingtest.NewTracer(t, group)
	values, want := texts("six", "1.5", "", "0x10", "\xff"), map[string]bool{}
	values = append(values, nil)
	for i := range 100 {
		values = append(values, fmt.Appendf(nil, "%d\r\n", i))
		want[strconv.Itoa(i)] = true
	}
	feed(t, b, values...)
	s := startStream(t, tracer, testConfig(b.Addr()))

	even, odd := tracingtest.ReadTopic(t, b.Addr(), "even-topic", 50), tracingtest.ReadTopic(t, b.Addr(), "odd-topic", 50)
	aside := tracingtest.ReadTopic(t, b.Addr(), "number-dlq", 6)

	assert.Len(t, even, 50)
	assert.Len(t, odd, 50)
	partitions := map[int32]bool{}
	for _, r := range slices.Concat(even, odd) {
		n, err := strconv.Atoi(string(r.Value))
		require.NoError(t, err)
		assert.Equal(t, n%2 == 0, r.Topic == "even-topic")
		assert.Equal(t, string(r.Value), string(r.Key))
		delete(want, string(r.Value))
		partitions[r.Partition] = true
	}
	assert.Empty(t, want)
	assert.Len(t, partitions, 3, "the numbers are not spread over the partitions")
	require.Len(t, aside, 6)
	for _, r := range aside {
		assert.Contains(t, tracingtest.Header(r, "dlq.reason"), "not an integer")
		assert.Equal(t, "number-topic", tracingtest.Header(r, "dlq.topic"))
		from, err := strconv.Atoi(tracingtest.Header(r, "dlq.offset"))
		require.NoError(t, err)
		partition, err := strconv.Atoi(tracingtest.Header(r, "dlq.partition"))
		require.NoError(t, err)
		source := tracingtest.ReadTopic(t, b.Addr(), "number-topic", len(values))
		i := slices.IndexFunc(source, func(s *kgo.Record) bool { return s.Partition == int32(partition) && s.Offset == int64(from) })
		require.GreaterOrEqual(t, i, 0)
		assert.Equal(t, source[i].Value, r.Value, "null stays null, bytes stay bytes")
	}
	assertChains(t, recorder.Wait(t, 2*len(values)))
	assert.Equal(t, 6, strings.Count(s.log.String(), "record set aside"))
	require.ErrorIs(t, s.stop(), context.Canceled)
	assert.Equal(t, int64(len(values)), committed(t, b))
}

// assertChains checks that each From_ has exactly one To_ and that nothing else
// is there.
func assertChains(t *testing.T, spans []tracingtest.Span) {
	t.Helper()
	children := map[string]int{}
	for _, s := range spans {
		if s.ParentID != "" {
			assert.True(t, strings.HasPrefix(s.Operation, "To_"), s.Operation)
			children[s.ParentID]++
		}
	}
	for _, s := range spans {
		if s.ParentID == "" {
			assert.Equal(t, "From_number-topic", s.Operation)
			assert.Equal(t, 1, children[s.ID])
			delete(children, s.ID)
		}
	}
	assert.Empty(t, children, "spans below one that is not there")
}

// committed returns the sum of the group's offsets, 0 if there is no group yet.
func committed(t *testing.T, b *tracingtest.Broker) int64 {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()))
	require.NoError(t, err)
	defer client.Close()
	offsets, err := kadm.NewClient(client).FetchOffsets(context.Background(), group)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return 0
	}
	require.NoError(t, err)
	var sum int64
	offsets.Each(func(o kadm.OffsetResponse) { sum += o.At })
	return sum
}

func waitCommitted(t *testing.T, b *tracingtest.Broker, want int64) {
	t.Helper()
	require.Eventually(t, func() bool { return committed(t, b) == want }, patience, 10*time.Millisecond)
}

func TestNothingIsLostWhenTheBrokerRestarts(t *testing.T) {
	t.Parallel()
	b := startBroker(t, 3)
	tracer, _ := tracingtest.NewTracer(t, group)
	s := startStream(t, tracer, testConfig(b.Addr()))
	want := map[string]bool{}
	next := 0
	more := func() {
		var values [][]byte
		for range 50 {
			values = append(values, fmt.Append(nil, next))
			want[strconv.Itoa(next)] = true
			next++
		}
		feed(t, b, values...)
	}
	more()
	s.waitReady(t)
	for range 2 {
		more()
		b.Stop()
		require.Eventually(t, func() bool { return s.ready() != nil }, patience, 10*time.Millisecond, "ready without a broker")
		require.NoError(t, b.Start())
		more()
		s.waitReady(t)
	}
	more()

	require.Eventually(t, func() bool {
		for _, topic := range []string{"even-topic", "odd-topic"} {
			for _, r := range tracingtest.ReadTopic(t, b.Addr(), topic, 0) {
				delete(want, string(r.Value))
			}
		}
		return len(want) == 0
	}, patience, 200*time.Millisecond, "lost: %v", slices.Collect(maps.Keys(want)))
	assert.Empty(t, tracingtest.ReadTopic(t, b.Addr(), "number-dlq", 0))
}

func TestALaterNumberDoesNotCommitOneThatFailed(t *testing.T) {
	t.Parallel()
	b := startBroker(t, 1)
	tracer, recorder := tracingtest.NewTracer(t, group)
	fault := b.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "even-topic", Err: kerr.NotLeaderForPartition, Count: -1})
	feed(t, b, texts("1", "2", "3", "5", "7")...)
	s := startStream(t, tracer, testConfig(b.Addr()))

	require.Eventually(t, func() bool { return strings.Contains(s.log.String(), "processor stopped") }, patience, 10*time.Millisecond)

	odd := map[string]bool{}
	for _, r := range tracingtest.ReadTopic(t, b.Addr(), "odd-topic", 4) { // a processor that is started again writes them once more
		odd[string(r.Value)] = true
	}
	assert.Len(t, odd, 4, "numbers behind the failed one went through")
	assert.LessOrEqual(t, committed(t, b), int64(1), "the failed number would be lost")
	failed := 0
	for _, span := range recorder.Spans() {
		if span.Operation == "To_even-topic" && span.Tags["error"] == true {
			failed++
		}
	}
	assert.Positive(t, failed)
	fault.Remove()
	assert.Equal(t, "2", string(tracingtest.ReadTopic(t, b.Addr(), "even-topic", 1)[0].Value))
}

func TestItWaitsForKafkaAndItsTopics(t *testing.T) {
	t.Parallel()
	addr, dir := tracingtest.FreeAddr(t), t.TempDir()
	tracer, _ := tracingtest.NewTracer(t, group)
	s := startStream(t, tracer, testConfig(addr))
	require.Eventually(t, func() bool { return strings.Contains(s.log.String(), "waiting for kafka") }, patience, 10*time.Millisecond)
	require.Error(t, s.ready())
	assert.Equal(t, [3]float64{0, 0, 1}, s.alerts(t))

	b, err := tracingtest.NewBroker(addr, dir)
	require.NoError(t, err)
	t.Cleanup(b.Stop)
	require.Eventually(t, func() bool { return strings.Contains(s.log.String(), "waiting for topics") }, patience, 10*time.Millisecond)
	b.CreateTopics(t, 3, testConfig("").topics()...)
	feed(t, b, texts("none", "6")...)

	assert.Equal(t, "6", string(tracingtest.ReadTopic(t, addr, "even-topic", 1)[0].Value))
	s.waitReady(t)
	b.CreateTopics(t, 1, "number-dlq") // which it does not need before
	assert.Equal(t, "none", string(deadLettersOf(t, b, 1)[0].Value))
	assert.NotContains(t, s.log.String(), "processor stopped")
}

func TestItStopsInTimeWhenTheBrokerIsAway(t *testing.T) {
	t.Parallel()
	b := startBroker(t, 1)
	tracer, _ := tracingtest.NewTracer(t, group)
	s := startStream(t, tracer, testConfig(b.Addr()))
	s.waitReady(t)
	b.Stop()
	began := time.Now()
	_ = s.stop()
	assert.Less(t, time.Since(began), testConfig("").Common.ShutdownTimeout)
}

// A member that learns of another one joins again within the time for which the
// group waits, which is the session timeout.
func TestTwoMembersShareThePartitions(t *testing.T) {
	t.Parallel()
	b := startBroker(t, 2)
	tracer, _ := tracingtest.NewTracer(t, group)
	first := startStream(t, tracer, testConfig(b.Addr()))
	first.waitReady(t)
	second := startStream(t, tracer, testConfig(b.Addr()))
	admin := b.Admin(t)
	require.Eventually(t, func() bool {
		groups, err := admin.DescribeGroups(t.Context(), group)
		working := 0
		for _, m := range groups[group].Members {
			if c, ok := m.Assigned.AsConsumer(); ok && len(c.Topics) == 1 && len(c.Topics[0].Partitions) == 1 {
				working++
			}
		}
		return err == nil && working == 2
	}, patience, 10*time.Millisecond)
	assert.LessOrEqual(t, strings.Count(first.log.String()+second.log.String(), "joining again"), 2, "each shuts the other out")
}
