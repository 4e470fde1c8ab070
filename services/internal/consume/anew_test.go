package consume

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"fault-tolerant-tracing/tracing/tracingtest"
)

// freshClient is one that has not seen the topic yet: a client knows it by its id.
func freshClient(t *testing.T, broker *tracingtest.Broker) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()), kgo.DefaultProduceTopic(testTopic))
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

// makeAnew makes the topic anew, with the records 1000 to 1299 in one partition. What the group has committed of
// the old topic is kept, as a broker may do.
func makeAnew(t *testing.T, broker *tracingtest.Broker) {
	t.Helper()
	admin := kadm.NewClient(freshClient(t, broker))
	stored, err := admin.FetchOffsets(t.Context(), testGroup)
	require.NoError(t, err)
	_, err = admin.DeleteTopics(t.Context(), testTopic)
	require.NoError(t, err)
	broker.CreateTopics(t, 1, testTopic)
	produce(t, freshClient(t, broker), 1000, 1300)
	before, _ := stored.Lookup(testTopic, 0)
	kept := kadm.Offsets{testTopic: {0: {Topic: testTopic, At: before.At, LeaderEpoch: -1, Metadata: before.Metadata}}}
	require.NoError(t, kadm.NewClient(freshClient(t, broker)).CommitAllOffsets(t.Context(), testGroup, kept))
}

// The client commits no offset that is lower than before. A crash must not cost all that
// was done of the new topic until somebody looks at its id.
func TestTheFirstOffsetsOfATopicMadeAnewAreCommittedAtOnce(t *testing.T) {
	t.Parallel()
	broker := tracingtest.StartBroker(t)
	client := freshClient(t, broker)
	s := newSeen()
	broker.CreateTopics(t, 1, testTopic)
	startMember(t, broker, func(c *Config) { c.Dispatch.Handle = each(s.handle) })
	produce(t, freshClient(t, broker), 0, 100)
	eventually(t, "committed", func() bool { return committed(t, client) == 100 })

	_, err := kadm.NewClient(client).DeleteTopics(t.Context(), testTopic)
	require.NoError(t, err)
	broker.CreateTopics(t, 1, testTopic)
	produce(t, freshClient(t, broker), 1000, 1020)
	require.Eventually(t, func() bool { return committed(t, client) == 20 }, topicInterval/2, 5*time.Millisecond)
	require.Equal(t, 120, s.distinct())
}

// A topic that was made anew, and has grown beyond what was read of the old one before the client noticed, is
// read from its beginning, though the group is rebalanced before anybody looks at its id.
func TestARebalanceDoesNotHideThatATopicWasMadeAnew(t *testing.T) {
	t.Parallel()
	broker := tracingtest.StartBroker(t)
	client := freshClient(t, broker)
	s := newSeen()
	broker.CreateTopics(t, 1, testTopic)
	handle := func(c *Config) { c.Dispatch.Handle = each(s.handle) }
	startMember(t, broker, handle)
	produce(t, freshClient(t, broker), 0, 100)
	eventually(t, "committed", func() bool { return committed(t, client) == 100 })

	var read atomic.Bool
	broker.Cluster().ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		broker.Cluster().KeepControl()
		return nil, errors.New("not yet"), !read.Load()
	})
	_, err := kadm.NewClient(client).DeleteTopics(t.Context(), testTopic)
	require.NoError(t, err)
	broker.CreateTopics(t, 1, testTopic)
	produce(t, freshClient(t, broker), 1000, 1120)
	read.Store(true)
	startMember(t, broker, handle)
	eventually(t, "all of the new topic", func() bool { return s.distinct() == 220 })
}

func answerOffsets(r kmsg.Request) (*kmsg.OffsetFetchResponse, *kmsg.OffsetFetchResponseGroup) {
	answer := r.ResponseKind().(*kmsg.OffsetFetchResponse)
	group := kmsg.NewOffsetFetchResponseGroup()
	group.Group = testGroup
	answer.Groups = append(answer.Groups, group)
	return answer, &answer.Groups[0]
}

// Where reading begins depends on what the topic is and on what was committed. If Kafka refuses to tell, nothing is
// read, and it is asked again.
func TestNothingIsReadBeforeItIsKnownWhereToBegin(t *testing.T) {
	t.Parallel()
	for name, refusal := range map[string]struct {
		question kmsg.Key
		answer   func(r kmsg.Request, addr string) (kmsg.Response, error)
	}{
		"no answer about the topic": {kmsg.Metadata, func(kmsg.Request, string) (kmsg.Response, error) {
			return nil, errors.New("the connection breaks")
		}},
		"an error of the topic": {kmsg.Metadata, func(r kmsg.Request, addr string) (kmsg.Response, error) {
			answer := r.ResponseKind().(*kmsg.MetadataResponse)
			host, port, _ := strings.Cut(addr, ":")
			node := kmsg.NewMetadataResponseBroker()
			node.Host = host
			_, _ = fmt.Sscan(port, &node.Port)
			answer.Brokers = append(answer.Brokers, node)
			topic := kmsg.NewMetadataResponseTopic()
			topic.Topic, topic.ErrorCode = new(testTopic), kerr.UnknownServerError.Code
			answer.Topics = append(answer.Topics, topic)
			return answer, nil
		}},
		"an error of the group": {kmsg.OffsetFetch, func(r kmsg.Request, _ string) (kmsg.Response, error) {
			answer, group := answerOffsets(r)
			group.ErrorCode = kerr.GroupAuthorizationFailed.Code
			return answer, nil
		}},
		"an error of the partition": {kmsg.OffsetFetch, func(r kmsg.Request, _ string) (kmsg.Response, error) {
			answer, group := answerOffsets(r)
			partition := kmsg.NewOffsetFetchResponseGroupTopicPartition()
			partition.ErrorCode = kerr.UnknownServerError.Code
			topic := kmsg.NewOffsetFetchResponseGroupTopic()
			topic.Topic, topic.Partitions = testTopic, append(topic.Partitions, partition)
			group.Topics = append(group.Topics, topic)
			return answer, nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broker := tracingtest.StartBroker(t)
			broker.CreateTopics(t, 1, testTopic)
			client := freshClient(t, broker)
			s, logs := newSeen(), new(tracingtest.Log)
			start := func() member {
				return startMember(t, broker, func(c *Config) {
					c.Dispatch.Handle = each(s.handle)
					c.Log = slog.New(slog.NewTextHandler(io.MultiWriter(logs, t.Output()), nil))
				})
			}
			first := start()
			produce(t, freshClient(t, broker), 0, 100)
			eventually(t, "committed", func() bool { return committed(t, client) == 100 })
			first.stop()
			makeAnew(t, broker)

			// From the assignment on, until that is told, or reading begins nevertheless.
			var refuses atomic.Bool
			control := func(key kmsg.Key, f func(kmsg.Request) (kmsg.Response, error, bool)) {
				broker.Cluster().ControlKey(int16(key), func(r kmsg.Request) (kmsg.Response, error, bool) {
					broker.Cluster().KeepControl()
					return f(r)
				})
			}
			control(kmsg.SyncGroup, func(kmsg.Request) (kmsg.Response, error, bool) {
				refuses.Store(true)
				return nil, nil, false
			})
			control(refusal.question, func(r kmsg.Request) (kmsg.Response, error, bool) {
				if !refuses.Load() {
					return nil, nil, false
				}
				if refusal.question == kmsg.OffsetFetch {
					refuses.Store(false)
				}
				answer, err := refusal.answer(r, broker.Addr())
				return answer, err, true
			})
			control(kmsg.OffsetFetch, func(kmsg.Request) (kmsg.Response, error, bool) {
				refuses.Store(false)
				return nil, nil, false
			})
			second := start()
			eventually(t, "it is told, or reads", func() bool { return len(second.Status().Errors) > 0 || s.distinct() > 100 })
			assert.Empty(t, second.Status().Partitions)
			refuses.Store(false)
			eventually(t, "all of the new topic", func() bool { return s.distinct() == 400 })
			eventually(t, "and committed", func() bool { return committed(t, client) == 300 })
			assert.Empty(t, second.Status().Errors)
			assert.Equal(t, 1, strings.Count(logs.String(), "not known where to begin"))
		})
	}
}

// Partitions that a member has not begun to read go to others as any.
func TestPartitionsGoToOthersThoughItIsNotKnownWhereToBegin(t *testing.T) {
	t.Parallel()
	broker, client := startTopic(t)
	var refuses atomic.Bool
	refuses.Store(true)
	broker.Cluster().ControlKey(int16(kmsg.OffsetFetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		broker.Cluster().KeepControl()
		answer, group := answerOffsets(r)
		group.ErrorCode = kerr.GroupAuthorizationFailed.Code
		return answer, nil, refuses.Load()
	})
	s := newSeen()
	handle := func(c *Config) { c.Dispatch.Handle = each(s.handle) }
	produce(t, client, 0, 30)
	first := startMember(t, broker, handle)
	eventually(t, "the first has all", func() bool { return len(first.Status().Errors) == partitions })
	second := startMember(t, broker, handle)
	eventually(t, "the second has some", func() bool { return len(second.Status().Errors) > 0 })
	eventually(t, "the first has the others", func() bool { return len(first.Status().Errors)+len(second.Status().Errors) == partitions })
	first.stop()
	eventually(t, "the second has all", func() bool { return len(second.Status().Errors) == partitions })
	refuses.Store(false)
	eventually(t, "all handled", func() bool { return s.distinct() == 30 })
	assert.Empty(t, second.Status().Errors)
}
