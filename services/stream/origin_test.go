package main

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync/atomic"
	"testing"

	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// makeAnew deletes number-topic and makes it again with these numbers on it.
func makeAnew(t *testing.T, b *tracingtest.Broker, numbers ...[]byte) {
	t.Helper()
	_, err := b.Admin(t).DeleteTopics(t.Context(), "number-topic")
	require.NoError(t, err)
	b.CreateTopics(t, 1, "number-topic")
	feed(t, b, numbers...)
}

// evens are so many even numbers from the first one on.
func evens(first, count int) [][]byte {
	var list [][]byte
	for i := range count {
		list = append(list, []byte(strconv.Itoa(first+2*i)))
	}
	return list
}

// waitSorted waits until all these even numbers are on even-topic.
func waitSorted(t *testing.T, b *tracingtest.Broker, numbers ...[]byte) {
	t.Helper()
	missing := map[string]bool{}
	for _, n := range numbers {
		missing[string(n)] = true
	}
	require.Eventually(t, func() bool {
		for _, r := range tracingtest.ReadTopic(t, b.Addr(), "even-topic", 0) {
			delete(missing, string(r.Value))
		}
		return len(missing) == 0
	}, patience/4, soon/20, "numbers were passed over")
}

func TestATopicMadeAnewWhileItIsDownIsReadFromItsBeginning(t *testing.T) {
	t.Parallel()
	b := startBroker(t, 1)
	tracer, _ := tracingtest.NewTracer(t, group)
	feed(t, b, evens(0, 10)...)
	first := startStream(t, tracer, testConfig(b.Addr()))
	waitCommitted(t, b, 10)
	require.ErrorIs(t, first.stop(), context.Canceled)

	old, err := b.Admin(t).FetchOffsets(t.Context(), group)
	require.NoError(t, err)
	numbers := evens(1000, 15) // beyond what was committed of the old topic
	makeAnew(t, b, numbers...)
	require.NoError(t, b.Admin(t).CommitAllOffsets(t.Context(), group, old.Offsets())) // a commit that was on its way
	second := startStream(t, tracer, testConfig(b.Addr()))
	waitSorted(t, b, numbers...)
	waitCommitted(t, b, 15)
	assert.Contains(t, second.log.String(), `msg="the topic was made anew since the last commit, reading from its beginning" topic=number-topic partition=0 committed=10`)
	require.ErrorIs(t, second.stop(), context.Canceled)

	feed(t, b, texts("7")...)
	third := startStream(t, tracer, testConfig(b.Addr()))
	waitCommitted(t, b, 16)
	assert.NotContains(t, third.log.String(), "anew")
	assert.Len(t, tracingtest.ReadTopic(t, b.Addr(), "even-topic", 0), 25, "the same topic was read twice")
}

func TestATopicMadeAnewWhileItRunsIsReadFromItsBeginning(t *testing.T) {
	t.Parallel()
	b := startBroker(t, 1)
	tracer, _ := tracingtest.NewTracer(t, group)
	feed(t, b, evens(0, 10)...)
	s := startStreamOn(t, tracer, testConfig(b.Addr()), kafkaclient.Cluster{Brokers: []string{b.Addr()}, RefreshInterval: soon})
	waitCommitted(t, b, 10)

	// It is not to notice by itself that the new topic is shorter for a while.
	var read atomic.Bool
	b.Cluster().ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.Cluster().KeepControl()
		return nil, errors.New("not yet"), !read.Load()
	})
	numbers := evens(1000, 15)
	makeAnew(t, b, numbers...)
	read.Store(true)
	waitSorted(t, b, numbers...)
	waitCommitted(t, b, 15)
	assert.Contains(t, s.log.String(), `msg="the topic was made anew`)
}

// Offsets of earlier versions, and those set by an administrator, have no metadata.
func TestACommitWithoutAnIDIsTakenAsItIs(t *testing.T) {
	t.Parallel()
	b := startBroker(t, 1)
	tracer, _ := tracingtest.NewTracer(t, group)
	feed(t, b, evens(0, 10)...)
	admin := b.Admin(t)
	var at kadm.Offsets
	at.Add(kadm.Offset{Topic: "number-topic", Partition: 0, At: 4, LeaderEpoch: -1})
	require.NoError(t, admin.CommitAllOffsets(t.Context(), group, at))

	startStream(t, tracer, testConfig(b.Addr()))
	waitCommitted(t, b, 10)

	assert.Len(t, tracingtest.ReadTopic(t, b.Addr(), "even-topic", 6), 6)
	topics, err := admin.ListTopics(t.Context(), "number-topic")
	require.NoError(t, err)
	offsets, err := admin.FetchOffsets(t.Context(), group)
	require.NoError(t, err)
	id := topics["number-topic"].ID
	assert.Equal(t, sarama.Uuid(id).String(), offsets["number-topic"][0].Metadata)
}

func TestNothingIsReadOfATopicWhoseIDIsNotKnown(t *testing.T) {
	tests := []struct {
		name  string
		admin fakeAdmin
	}{
		{"no answer", fakeAdmin{err: sarama.ErrOutOfBrokers}},
		{"refused", fakeAdmin{topics: []*sarama.TopicMetadata{{Name: "number-topic", Err: sarama.ErrTopicAuthorizationFailed}}}},
		{"nothing known", fakeAdmin{}},
		{"the id known, the offset not", fakeAdmin{topics: []*sarama.TopicMetadata{{Name: "number-topic"}}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := origin{tt.admin, group, "number-topic", soon, slog.New(slog.DiscardHandler)}.begin(claims{})
			assert.Error(t, err)
		})
	}
}

type fakeAdmin struct {
	sarama.ClusterAdmin
	topics []*sarama.TopicMetadata
	err    error
}

func (a fakeAdmin) DescribeTopics([]string) ([]*sarama.TopicMetadata, error) { return a.topics, a.err }
func (a fakeAdmin) ListConsumerGroupOffsets(string, map[string][]int32) (*sarama.OffsetFetchResponse, error) {
	return new(sarama.OffsetFetchResponse), nil
}

type claims struct{ sarama.ConsumerGroupSession }

func (claims) Claims() map[string][]int32 { return map[string][]int32{"number-topic": {0}} }
