package consume

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
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
