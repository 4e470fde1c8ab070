package consume

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"fault-tolerant-tracing/services/internal/dispatch"
	"fault-tolerant-tracing/tracing/tracingtest"
)

// Behind the last record of a transaction lies its marker, which no consumer is given.
func TestAMarkerAtTheEndIsNoLag(t *testing.T) {
	t.Parallel()
	broker, reading := startTopic(t)
	writing, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()), kgo.DefaultProduceTopic(testTopic), kgo.TransactionalID("one"),
		kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, err)
	t.Cleanup(writing.Close)
	s := newSeen()
	m := startMember(t, broker, func(c *Config) { c.Dispatch.Handle = each(s.handle) })
	require.NoError(t, writing.BeginTransaction())
	produce(t, writing, 0, 10)
	require.NoError(t, writing.EndTransaction(t.Context(), kgo.TryCommit))
	eventually(t, "all handled", func() bool { return s.distinct() == 10 })
	eventually(t, "the marker is committed, too", func() bool { return committed(t, reading) == 11 })
	eventually(t, "nothing is left", func() bool { return lag(m) == 0 && len(m.Status().Partitions) == partitions })
}

func TestAPartitionThatStallsIsTold(t *testing.T) {
	t.Parallel()
	broker, client := startTopic(t)
	s, logs := newSeen(), new(tracingtest.Log)
	m := startMember(t, broker, func(c *Config) {
		c.Dispatch.Handle = each(s.handle)
		c.Log = slog.New(slog.NewTextHandler(io.MultiWriter(logs, t.Output()), nil))
	})
	produce(t, client, 0, 30)
	eventually(t, "all handled", func() bool { return s.distinct() == 30 })
	assert.Empty(t, m.Status().Errors)

	eventually(t, "it is told", func() bool {
		m.tails.mu.Lock()
		m.tails.at[1] = tail{read: 9, since: time.Now().Add(-stalledAfter - time.Second)} // whatever the client has read ahead
		m.tails.mu.Unlock()
		return len(m.Status().Errors) == 1
	})
	assert.Contains(t, m.Status().Errors[0].Error, "partition 1 has more, but gives nothing from offset 9 on")
	assert.Contains(t, logs.String(), `level=ERROR msg="a partition stalls`)

	produce(t, client, 30, 60)
	eventually(t, "it is over", func() bool { return len(m.Status().Errors) == 0 })
}

func TestThatTheBrokersAreBackIsSeenThoughThereIsNothingToRead(t *testing.T) {
	t.Parallel()
	broker, admin := startTopic(t)
	s := newSeen()
	m := startMember(t, broker, func(c *Config) { c.Dispatch.Handle = each(s.handle) })
	produce(t, admin, 0, 30)
	eventually(t, "all committed", func() bool { return committed(t, admin) == 30 })
	over := func() bool {
		return m.Status().State == dispatch.Delivering && len(m.Status().Errors) == 0 && m.Ready() == nil
	}
	broker.Stop()
	eventually(t, "it holds", func() bool { return m.Status().State == dispatch.Holding })
	require.NoError(t, broker.Start())
	eventually(t, "that is over", over)

	eventually(t, "nothing more is committed or read", func() bool { return lag(m) == 0 })
	m.troubles.note(whole, errors.New("the connections were lost, and made again")) // where the client begins to fetch anew, that tells, too
	m.away.Store(true)
	require.False(t, over())
	eventually(t, "that is over", over)
}

func TestAMemberIsReadyWhenItHasJoined(t *testing.T) {
	t.Parallel()
	broker, _ := startTopic(t)
	broker.Stop()
	m := startMember(t, broker, func(c *Config) { c.Dispatch.Handle = each(newSeen().handle) })
	assert.EqualError(t, m.Ready(), "not a member of consumer group group")
	require.NoError(t, broker.Start())
	eventually(t, "it is ready", func() bool { return m.Ready() == nil })
}

// revoked opens a gate some time after a member was told that a partition goes.
type revoked struct {
	io.Writer
	open func()
}

func (r revoked) Write(line []byte) (int, error) {
	if strings.Contains(string(line), "partitions revoked") {
		time.AfterFunc(drainTimeout/4, r.open)
	}
	return r.Writer.Write(line)
}

func TestWhatIsUnderWayIsFinishedBeforeAPartitionGoes(t *testing.T) {
	t.Parallel()
	broker, client := startTopic(t)
	s, open := newSeen(), make(gate)
	first := startMember(t, broker, func(c *Config) {
		c.Dispatch.Handle = each(func(ctx context.Context, r *dispatch.Record) error {
			if err := open.wait(ctx); err != nil {
				return err
			}
			return s.handle(ctx, r)
		})
		c.Log = slog.New(slog.NewTextHandler(revoked{t.Output(), sync.OnceFunc(func() { close(open) })}, nil))
	})
	produce(t, client, 0, 3)
	eventually(t, "all are under way", func() bool { return first.Status().InFlight == 3 })
	second := startMember(t, broker, func(c *Config) { c.Dispatch.Handle = each(s.handle) })
	eventually(t, "the second has a partition", func() bool { return len(second.Status().Partitions) > 0 })
	produce(t, client, 3, 60)
	eventually(t, "all is handled", func() bool { return s.distinct() == 60 })
	for value, times := range s.counts() {
		assert.Equal(t, 1, times, value)
	}
}
