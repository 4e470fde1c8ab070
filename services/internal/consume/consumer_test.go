package consume

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"fault-tolerant-tracing/services/internal/dispatch"
	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/tracingtest"
)

const (
	testTopic  = "input"
	testGroup  = "group"
	partitions = 3
	patience   = 30 * time.Second

	sessionTimeout = 6 * time.Second

	maxRecords = 10_000 // that are held in memory
)

func TestMain(m *testing.M) {
	// librdkafka may not end the close of a client that was fenced off: see renew.
	tracingtest.VerifyMain(m,
		goleak.IgnoreAnyFunction("fault-tolerant-tracing/services/internal/consume.(*Consumer).renew.func1"),
		goleak.IgnoreAnyFunction("fault-tolerant-tracing/tracing/kafkaclient.ForwardLogs"))
}

// seen counts how often each value was handled to the end.
type seen struct {
	mu    sync.Mutex
	times map[string]int
	order map[int32][]string
}

func newSeen() *seen { return &seen{times: map[string]int{}, order: map[int32][]string{}} }

func (s *seen) handle(_ context.Context, r *dispatch.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times[string(r.Value)]++
	s.order[r.TopicPartition.Partition] = append(s.order[r.TopicPartition.Partition], string(r.Value))
	return nil
}

func (s *seen) distinct() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.times)
}

func (s *seen) counts() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.times)
}

// each handles records one by one.
func each(handle func(context.Context, *dispatch.Record) error) func(context.Context, []dispatch.Part) error {
	return func(ctx context.Context, parts []dispatch.Part) error { return handle(ctx, parts[0].Record) }
}

type member struct {
	*Consumer
	begun time.Time
	halt  func() // ends Run
	stop  func() // ends Run and closes
}

// startMember runs a consumer that is stopped when the test ends at the latest.
func startMember(t *testing.T, broker *tracingtest.Broker, change func(*Config)) member {
	t.Helper()
	cfg := Config{
		Cluster: kafkaclient.Cluster{Brokers: []string{broker.Addr()}}, Group: testGroup, Topic: testTopic,
		SessionTimeout: sessionTimeout, StopTimeout: 2 * time.Second,
		Dispatch: dispatch.Config{
			InFlight: 4, MaxPieces: 1, MaxBytes: 1,
			SetAside: func(context.Context, dispatch.Part, error) error { return nil },
		},
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	change(&cfg)
	c, err := New(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	halt := sync.OnceFunc(func() {
		cancel()
		assert.NoError(t, <-done)
	})
	stop := sync.OnceFunc(func() {
		halt()
		assert.NoError(t, c.Close(context.Background()))
	})
	t.Cleanup(stop)
	return member{c, time.Now(), halt, stop}
}

func startTopic(t *testing.T) (*tracingtest.Broker, *kgo.Client) {
	t.Helper()
	broker := tracingtest.StartBroker(t)
	broker.CreateTopics(t, partitions, testTopic)
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()), kgo.DefaultProduceTopic(testTopic), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return broker, client
}

func produce(t *testing.T, client *kgo.Client, from, to int) {
	t.Helper()
	var records []*kgo.Record
	for i := from; i < to; i++ {
		records = append(records, &kgo.Record{Value: fmt.Append(nil, i)})
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, client.ProduceSync(ctx, records...).FirstErr())
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	require.Eventually(t, holds, patience, 5*time.Millisecond, what)
}

func committed(t *testing.T, client *kgo.Client) (total int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	offsets, err := kadm.NewClient(client).FetchOffsets(ctx, testGroup)
	if err != nil {
		t.Log(err) // no group yet
	}
	offsets.Each(func(o kadm.OffsetResponse) { total += max(0, o.At) })
	return total
}

func TestMembersThatComeAndGoUnderLoadLoseNothing(t *testing.T) {
	t.Parallel()
	broker, client := startTopic(t)
	s := newSeen()
	member := func() member { return startMember(t, broker, func(c *Config) { c.Dispatch.Handle = each(s.handle) }) }
	first := member()
	produce(t, client, 0, 500)
	second := member()
	produce(t, client, 500, 1000)
	eventually(t, "the second is in the group", func() bool { return second.Ready() == nil })
	third, fourth := member(), member()
	produce(t, client, 1000, 1500)
	first.stop()
	produce(t, client, 1500, 2000)
	eventually(t, "a member without a partition is ready too", func() bool { return third.Ready() == nil && fourth.Ready() == nil })
	second.stop()
	third.stop()
	produce(t, client, 2000, 2500)
	eventually(t, "every record was handled", func() bool { return s.distinct() == 2500 })
	eventually(t, "and committed", func() bool { return committed(t, client) == 2500 })
}

func TestAGracefulStopRepeatsNothing(t *testing.T) {
	t.Parallel()
	broker, client := startTopic(t)
	s := newSeen()
	for i := range 3 {
		produce(t, client, i*100, (i+1)*100)
		m := startMember(t, broker, func(c *Config) { c.Dispatch.Handle = each(s.handle) })
		eventually(t, "all handled", func() bool { return s.distinct() == (i+1)*100 })
		m.stop()
	}
	for value, times := range s.counts() {
		assert.Equal(t, 1, times, value)
	}
}

func TestNothingIsCommittedBeforeItsSpansAreFlushed(t *testing.T) {
	t.Parallel()
	broker, client := startTopic(t)
	s := newSeen()
	asked := make(chan struct{}, 10)
	m := startMember(t, broker, func(c *Config) {
		c.Dispatch.Handle = each(s.handle)
		c.Flush = func(ctx context.Context) error {
			asked <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		}
	})
	produce(t, client, 0, 100)
	eventually(t, "all handled", func() bool { return s.distinct() == 100 })
	<-asked
	m.stop()
	assert.NotEmpty(t, asked, "at the end once more")
	assert.Zero(t, committed(t, client))

	startMember(t, broker, func(c *Config) {
		c.Dispatch.Handle = each(s.handle)
		c.Flush = func(context.Context) error { return nil }
	})
	eventually(t, "all committed", func() bool { return committed(t, client) == 100 })
	for value, times := range s.counts() {
		assert.Equal(t, 2, times, value)
	}
}

// A Flush that fails says that what is finished may be lost. All that is not committed is
// done again, and only that.
func TestWhatMayBeLostIsDoneAgain(t *testing.T) {
	t.Parallel()
	broker, client := startTopic(t)
	s := newSeen()
	var flush atomic.Pointer[error]
	safe, lost := error(nil), errors.New("lost")
	flush.Store(&safe)
	m := startMember(t, broker, func(c *Config) {
		c.Dispatch.Handle = each(s.handle)
		c.Flush = func(context.Context) error { return *flush.Swap(&safe) }
	})
	produce(t, client, 0, 100)
	eventually(t, "the first are committed", func() bool { return committed(t, client) == 100 })
	flush.Store(&lost)
	produce(t, client, 100, 200)
	eventually(t, "all are committed", func() bool { return committed(t, client) == 200 })
	assert.EqualValues(t, 1, m.Status().ReadAgain)
	again, counts := 0, s.counts()
	for n := range 200 {
		times := counts[fmt.Sprint(n)]
		if n < 100 {
			assert.Equal(t, 1, times, "%d was committed", n)
		}
		again += times - 1
	}
	assert.Positive(t, again)
}

func TestOrderIsKeptPerPartitionThroughFailures(t *testing.T) {
	t.Parallel()
	broker, client := startTopic(t)
	s := newSeen()
	var tries atomic.Int64
	startMember(t, broker, func(c *Config) {
		c.Dispatch.Ordered = true
		c.Dispatch.Handle = each(func(ctx context.Context, r *dispatch.Record) error {
			if tries.Add(1)%25 == 0 {
				return errors.New("every 25th try fails")
			}
			return s.handle(ctx, r)
		})
	})
	produce(t, client, 0, 300)
	eventually(t, "all handled", func() bool { return s.distinct() == 300 })
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, values := range s.order {
		last := -1
		for _, value := range values {
			var n int
			_, err := fmt.Sscan(value, &n)
			require.NoError(t, err)
			assert.Greater(t, n, last)
			last = n
		}
	}
}

func TestARecordThatCannotBeSetAsideIsHeld(t *testing.T) {
	t.Parallel()
	broker, client := startTopic(t)
	var handled, tries atomic.Int64
	m := startMember(t, broker, func(c *Config) {
		c.Dispatch.Handle = each(func(context.Context, *dispatch.Record) error {
			handled.Add(1)
			return dispatch.Permanent(errors.New("bad"))
		})
		c.Dispatch.SetAside = func(context.Context, dispatch.Part, error) error {
			if tries.Add(1) <= 3 {
				return errors.New("the dead-letter topic is away")
			}
			return nil
		}
	})
	produce(t, client, 0, 1)
	eventually(t, "it is set aside at last", func() bool { return m.Status().Counts.SetAside == 1 })
	assert.EqualValues(t, 1, handled.Load(), "the decision is not made again")
	assert.EqualValues(t, 4, tries.Load())
	eventually(t, "and committed", func() bool { return committed(t, client) == 1 })
}

// What is finished while the broker is away cannot be committed. Stopping must
// not wait for that.
func TestStoppingWhileTheBrokerIsAwayIsBounded(t *testing.T) {
	t.Parallel()
	broker, client := startTopic(t)
	s, gate := newSeen(), make(chan struct{})
	m := startMember(t, broker, func(c *Config) {
		c.Dispatch.Handle = each(func(ctx context.Context, r *dispatch.Record) error {
			<-gate
			return s.handle(ctx, r)
		})
	})
	produce(t, client, 0, 10)
	eventually(t, "all are read, some are in flight", func() bool { s := m.Status(); return s.InFlight == 4 && s.Waiting == 6 })
	broker.Stop()
	close(gate)
	eventually(t, "all handled", func() bool { return s.distinct() == 10 })
	m.halt()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	assert.NoError(t, m.Close(ctx))
	assert.ErrorIs(t, ctx.Err(), context.DeadlineExceeded, "the client still tries to commit")
	require.NoError(t, broker.Start()) // else the client may try for minutes, and the end of the test waits for it
}

func TestABacklogBeyondTheWindowIsReadToItsEnd(t *testing.T) {
	t.Parallel()
	broker, client := startTopic(t)
	produce(t, client, 0, 3*maxRecords)
	s := newSeen()
	gate := make(chan struct{})
	m := startMember(t, broker, func(c *Config) {
		c.Dispatch.Handle = each(func(ctx context.Context, r *dispatch.Record) error {
			select {
			case <-gate:
				return s.handle(ctx, r)
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	eventually(t, "the window is full", func() bool { return m.work.Full() })
	w := m.work.Status()
	assert.Less(t, w.Waiting+w.InFlight, maxRecords+1000)
	close(gate)
	eventually(t, "all handled", func() bool { return s.distinct() == 3*maxRecords })
	eventually(t, "and committed", func() bool { return committed(t, client) == 3*maxRecords })
}

// A static member that was away for longer than its session may be fenced off by
// itself when it comes back. That is fatal to the client, not to the consumer.
func TestAMemberThatIsFencedOffJoinsAnew(t *testing.T) {
	t.Parallel()
	broker, client := startTopic(t)
	s := newSeen()
	named := func(c *Config) {
		c.Dispatch.Handle, c.InstanceID = each(s.handle), "same name"
		c.Log = slog.New(slog.DiscardHandler) // a client that was fenced off may outlive the test
	}
	first := startMember(t, broker, named)
	produce(t, client, 0, 100)
	eventually(t, "the first works", func() bool { return s.distinct() == 100 })
	eventually(t, "its session could have run out", func() bool { return time.Since(first.begun) > sessionTimeout })

	other, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()), kgo.ConsumerGroup(testGroup), kgo.InstanceID("same name"), kgo.ConsumeTopics(testTopic),
		kgo.Balancers(kgo.CooperativeStickyBalancer()))
	require.NoError(t, err)
	t.Cleanup(other.Close)
	eventually(t, "the first is fenced off", func() bool { return first.Ready() != nil })
	eventually(t, "the first is a member again", func() bool { return first.Ready() == nil })
	produce(t, client, 100, 200)
	eventually(t, "every record was handled", func() bool { return s.distinct() == 200 })
	eventually(t, "and committed", func() bool { return committed(t, client) == 200 })
}
