package consume

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"fault-tolerant-tracing/tracing/tracingtest"
)

// The client commits no offset that is lower than before. A crash must not cost all that
// was done of the new topic until somebody looks at its id.
func TestTheFirstOffsetsOfATopicMadeAnewAreCommittedAtOnce(t *testing.T) {
	t.Parallel()
	broker := tracingtest.StartBroker(t)
	fresh := func() *kgo.Client { // a client knows the topic by its id
		client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()), kgo.DefaultProduceTopic(testTopic))
		require.NoError(t, err)
		t.Cleanup(client.Close)
		return client
	}
	client := fresh()
	s := newSeen()
	broker.CreateTopics(t, 1, testTopic)
	startMember(t, broker, func(c *Config) { c.Dispatch.Handle = each(s.handle) })
	produce(t, fresh(), 0, 100)
	eventually(t, "committed", func() bool { return committed(t, client) == 100 })

	_, err := kadm.NewClient(client).DeleteTopics(t.Context(), testTopic)
	require.NoError(t, err)
	broker.CreateTopics(t, 1, testTopic)
	produce(t, fresh(), 1000, 1020)
	require.Eventually(t, func() bool { return committed(t, client) == 20 }, topicInterval/2, 5*time.Millisecond)
	require.Equal(t, 120, s.distinct())
}
