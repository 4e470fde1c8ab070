package consume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"fault-tolerant-tracing/services/internal/dispatch"
	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/tracingtest"
)

// A gate holds handlers back until it is opened.
type gate chan struct{}

func (g gate) wait(ctx context.Context) error {
	select {
	case <-g:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func lag(m member) (total int64) {
	for _, p := range m.Status().Partitions {
		total += p.Lag
	}
	return total
}

// A record that fails again and again must not keep the others, however many lie
// behind it, from being done: they are the evidence against it.
func TestABadRecordDoesNotStopABacklog(t *testing.T) {
	t.Parallel()
	broker, client := startTopic(t)
	s := newSeen()
	const n = 5 * maxRecords
	produce(t, client, 0, n)
	startMember(t, broker, func(c *Config) {
		c.Dispatch.Handle = each(func(ctx context.Context, r *dispatch.Record) error {
			if string(r.Value) == "0" {
				return errors.New("bad")
			}
			return s.handle(ctx, r)
		})
	})
	eventually(t, "all others are done", func() bool { return s.distinct() == n-1 })
}

func TestAPartitionThatWasPausedWhenItWentIsReadWhenItIsBack(t *testing.T) {
	t.Parallel()
	broker, client := startTopic(t)
	s, open := newSeen(), make(gate)
	produce(t, client, 0, 3*maxRecords)
	first := startMember(t, broker, func(c *Config) {
		c.Dispatch.Handle = each(func(ctx context.Context, r *dispatch.Record) error {
			return errors.Join(open.wait(ctx), s.handle(ctx, r))
		})
	})
	eventually(t, "the window is full", func() bool { return first.work.Full() })
	full := time.Now()
	eventually(t, "reading is paused", func() bool { return time.Since(full) > pauseAfter+time.Second })
	second := startMember(t, broker, func(c *Config) { c.Dispatch.Handle = each(s.handle) })
	eventually(t, "the second has a partition", func() bool { return len(second.Status().Partitions) > 0 })
	close(open)
	eventually(t, "all is done", func() bool { return s.distinct() == 3*maxRecords })
	second.stop()
	eventually(t, "the first has all again", func() bool { return len(first.Status().Partitions) == partitions })
	produce(t, client, 3*maxRecords, 3*maxRecords+300)
	eventually(t, "what came later is done too", func() bool { return s.distinct() == 3*maxRecords+300 })
}

func TestTheLagGrowsWhileNothingIsFetched(t *testing.T) {
	t.Parallel()
	broker, client := startTopic(t)
	produce(t, client, 0, maxRecords+1)
	m := startMember(t, broker, func(c *Config) {
		c.Dispatch.Handle = each(func(context.Context, *dispatch.Record) error { return errors.New("away") })
	})
	eventually(t, "the lag is known", func() bool { return lag(m) == maxRecords+1 })
	for n := maxRecords + 1; n < 5*maxRecords; n += maxRecords { // what was asked for before the pause still comes
		produce(t, client, n, n+maxRecords)
		eventually(t, "the lag has grown", func() bool { return lag(m) == int64(n+maxRecords) })
	}
}

// A topic that is made anew starts at offset 0 again. What was under way is done,
// and the offsets of the new topic are committed although they are lower.
func TestATopicMadeAnewIsReadFromItsStart(t *testing.T) {
	t.Parallel()
	broker := tracingtest.StartBroker(t)
	broker.CreateTopics(t, 1, testTopic)
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()))
	require.NoError(t, err)
	t.Cleanup(client.Close)
	write := func(from, to int) {
		fresh, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()), kgo.DefaultProduceTopic(testTopic))
		require.NoError(t, err)
		defer fresh.Close() // it knows the topic by its id
		produce(t, fresh, from, to)
	}
	s := newSeen()
	var away atomic.Bool
	m := startMember(t, broker, func(c *Config) {
		c.Dispatch.Handle = each(func(ctx context.Context, r *dispatch.Record) error {
			if away.Load() {
				return errors.New("away")
			}
			return s.handle(ctx, r)
		})
	})
	write(0, 100)
	eventually(t, "committed", func() bool { return committed(t, client) == 100 })
	away.Store(true)
	write(100, 110)
	eventually(t, "holding", func() bool { return m.Status().State == dispatch.Holding && m.Status().Waiting >= 9 })
	_, err = kadm.NewClient(client).DeleteTopics(t.Context(), testTopic)
	require.NoError(t, err)
	broker.CreateTopics(t, 1, testTopic)
	write(1000, 1020)
	away.Store(false)
	eventually(t, "all is done", func() bool { return s.distinct() == 130 })
	eventually(t, "the new offsets are committed", func() bool { return committed(t, client) == 20 })
}

// What the group has committed belongs to the topic that was there then, though the
// one of today may have grown beyond it.
func TestATopicMadeAnewWhileNobodyReadIsReadFromItsStart(t *testing.T) {
	t.Parallel()
	broker := tracingtest.StartBroker(t)
	s, logs := newSeen(), new(tracingtest.Log)
	start := func() member {
		return startMember(t, broker, func(c *Config) {
			c.Dispatch.Handle = each(s.handle)
			c.Log = slog.New(slog.NewTextHandler(io.MultiWriter(logs, t.Output()), nil))
		})
	}
	write := func(from, to int) {
		client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()), kgo.DefaultProduceTopic(testTopic))
		require.NoError(t, err)
		defer client.Close() // it knows the topic by its id
		produce(t, client, from, to)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()))
	require.NoError(t, err)
	t.Cleanup(client.Close)

	broker.CreateTopics(t, 1, testTopic)
	write(0, 100)
	first := start()
	eventually(t, "committed", func() bool { return committed(t, client) == 100 })
	first.stop()
	second := start()
	write(100, 110)
	eventually(t, "the same topic goes on where it was", func() bool { return committed(t, client) == 110 })
	second.stop()
	assert.NotContains(t, logs.String(), "made anew")
	assert.Equal(t, 1, s.counts()["0"])

	makeAnew(t, broker)
	start()
	eventually(t, "all of the new topic is done", func() bool { return s.distinct() == 410 })
	eventually(t, "and committed", func() bool { return committed(t, client) == 300 })
	assert.Contains(t, logs.String(), "the topic was made anew since the last commit")
}

// wrapped is a permanent error that says more about itself.
var errWrapped = fmt.Errorf("parse: %w", dispatch.Permanent(errors.New("bad")))

func TestAWrappedPermanentErrorIsHeldUntilItIsSetAside(t *testing.T) {
	t.Parallel()
	broker, client := startTopic(t)
	var tries atomic.Int64
	m := startMember(t, broker, func(c *Config) {
		c.Dispatch.Handle = each(func(context.Context, *dispatch.Record) error { return errWrapped })
		c.Dispatch.SetAside = func(context.Context, dispatch.Part, error) error {
			tries.Add(1)
			return errors.New("the dead-letter topic is away")
		}
	})
	produce(t, client, 0, 1)
	eventually(t, "it is tried again", func() bool { return tries.Load() > 3 })
	assert.Zero(t, m.Status().Counts.SetAside)
	m.stop()
	assert.Zero(t, committed(t, client))
}

func TestADeadLetterTopicThatDoesNotAnswerHoldsUpOnlyItsOwnRecords(t *testing.T) {
	t.Parallel()
	broker, client := startTopic(t)
	s := newSeen()
	startMember(t, broker, func(c *Config) {
		c.Dispatch.InFlight = 1
		c.Dispatch.Handle = each(func(ctx context.Context, r *dispatch.Record) error {
			if string(r.Value) == "0" {
				return errWrapped
			}
			return s.handle(ctx, r)
		})
		c.Dispatch.SetAside = func(ctx context.Context, _ dispatch.Part, _ error) error {
			<-ctx.Done()
			return ctx.Err()
		}
	})
	produce(t, client, 0, 10)
	eventually(t, "the others are done", func() bool { return s.distinct() == 9 })
}

func TestAMissingPermissionIsToldAtError(t *testing.T) {
	t.Parallel()
	allow := func(op kmsg.ACLOperation) kfake.ACL {
		return kfake.ACL{Resource: kmsg.ACLResourceTypeTopic, Name: testTopic, Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: op, Allow: true}
	}
	broker := tracingtest.StartBroker(t, kfake.SeedTopics(1, testTopic), kfake.EnableACLs(), kfake.EnableSASL(),
		kfake.User("PLAIN", "relay", "x", allow(kmsg.ACLOperationRead), allow(kmsg.ACLOperationDescribe)))
	logs := new(tracingtest.Log)
	startMember(t, broker, func(c *Config) {
		c.Cluster.Security = kafkaclient.Security{Protocol: "SASL_PLAINTEXT", SASLMechanism: "PLAIN", SASLUsername: "relay", SASLPassword: "x"}
		c.Dispatch.Handle = each(newSeen().handle)
		c.Log = slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelInfo}))
	})
	eventually(t, "it is told", func() bool { return strings.Contains(logs.String(), "level=ERROR") })
	assert.Contains(t, logs.String(), testGroup)
}

// Each commit that fails is counted; the log tells why they begin to fail, when the reason changes, and when that is over.
func TestCommitsThatFailAreToldOnce(t *testing.T) {
	t.Parallel()
	broker, client := startTopic(t)
	var reason atomic.Int32 // the code of an error; 0: commits are taken
	reason.Store(int32(kerr.OffsetMetadataTooLarge.Code))
	broker.Cluster().ControlKey(int16(kmsg.OffsetCommit), func(r kmsg.Request) (kmsg.Response, error, bool) {
		broker.Cluster().KeepControl()
		code := int16(reason.Load())
		answer := r.ResponseKind().(*kmsg.OffsetCommitResponse)
		for _, asked := range r.(*kmsg.OffsetCommitRequest).Topics {
			topic := kmsg.OffsetCommitResponseTopic{Topic: asked.Topic, TopicID: asked.TopicID}
			for _, p := range asked.Partitions {
				topic.Partitions = append(topic.Partitions, kmsg.OffsetCommitResponseTopicPartition{Partition: p.Partition, ErrorCode: code})
			}
			answer.Topics = append(answer.Topics, topic)
		}
		return answer, nil, code != 0
	})
	lines, s := new(tracingtest.Log), newSeen()
	m := startMember(t, broker, func(c *Config) {
		c.Dispatch.Handle, c.Log = each(s.handle), lines.Logger()
	})
	for n := range 3 {
		produce(t, client, n, n+1)
		eventually(t, "a commit more is refused", func() bool { return m.Status().CommitErrors > uint64(n) })
	}
	assert.Equal(t, 1, lines.Count("could not commit offsets"))
	reason.Store(int32(kerr.GroupAuthorizationFailed.Code))
	produce(t, client, 3, 4)
	lines.Wait(t, "authorization")
	assert.Equal(t, 2, lines.Count("could not commit offsets"))
	reason.Store(0)
	produce(t, client, 4, 5)
	lines.Wait(t, "offsets are committed again")
	eventually(t, "all are committed", func() bool { return committed(t, client) == 5 })
	assert.Equal(t, 1, lines.Count("offsets are committed again"))
}

// A broker that comes back may lose sight of a member that is joining.
func TestAJoinThatIsNeverAnsweredIsTriedAgain(t *testing.T) {
	t.Parallel()
	broker, client := startTopic(t)
	produce(t, client, 0, 100)
	var lost atomic.Bool
	broker.Cluster().ControlKey(int16(kmsg.JoinGroup), func(kmsg.Request) (kmsg.Response, error, bool) {
		lost.Store(true)
		return nil, nil, true // and this only once
	})
	s := newSeen()
	startMember(t, broker, func(c *Config) { c.Dispatch.Handle = each(s.handle) })
	require.Eventually(t, func() bool { return s.distinct() == 100 }, 12*sessionTimeout, 50*time.Millisecond)
	require.True(t, lost.Load())
}

// After the session timeout others may have the partitions: a member must not look as if it read them.
func TestItIsNotReadyWhenTheGroupIsSilent(t *testing.T) {
	t.Parallel()
	broker, client := startTopic(t)
	s := newSeen()
	m := startMember(t, broker, func(c *Config) { c.Dispatch.Handle = each(s.handle) })
	produce(t, client, 0, 30)
	eventually(t, "committed", func() bool { return committed(t, client) == 30 })
	require.NoError(t, m.Ready())

	answer := make(gate)
	release := sync.OnceFunc(func() { close(answer) })
	t.Cleanup(release)
	for _, key := range []kmsg.Key{kmsg.Heartbeat, kmsg.JoinGroup} {
		broker.Cluster().ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
			broker.Cluster().KeepControl()
			broker.Cluster().SleepControl(func() { <-answer })
			return nil, nil, false
		})
	}
	eventually(t, "it is not ready", func() bool { return m.Ready() != nil })
	status := m.Status()
	assert.Equal(t, dispatch.Holding, status.State)
	require.Len(t, status.Errors, 1)
	assert.Contains(t, status.Errors[0].Error, "the membership of consumer group group has run out")
	release()
	eventually(t, "it is again", func() bool {
		status := m.Status()
		return m.Ready() == nil && status.State == dispatch.Delivering && len(status.Errors) == 0
	})
	produce(t, client, 30, 60)
	eventually(t, "all handled", func() bool { return s.distinct() == 60 })
}
