package tracingtest_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestMain(m *testing.M) { tracingtest.VerifyMain(m) }

func newClient(t *testing.T, b *tracingtest.Broker, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(b.Addr()), kgo.MetadataMinAge(100*time.Millisecond))...)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func produce(t *testing.T, b *tracingtest.Broker, topic string, from, to int) {
	t.Helper()
	c := newClient(t, b, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for i := from; i < to; i++ {
		r := &kgo.Record{Topic: topic, Partition: int32(i % 2), Value: fmt.Append(nil, i)}
		require.NoError(t, c.ProduceSync(context.Background(), r).FirstErr())
	}
}

func TestBrokerKeepsRecordsAndOffsetsWhileStopped(t *testing.T) {
	b := tracingtest.StartBroker(t)
	b.CreateTopics(t, 2, "numbers")
	produce(t, b, "numbers", 0, 10)
	commits := kadm.Offsets{}
	commits.AddOffset("numbers", 1, 3, -1)
	require.NoError(t, kadm.NewClient(newClient(t, b)).CommitAllOffsets(context.Background(), "group", commits))
	addr := b.Addr()

	b.Stop()
	b.Stop()
	assert.Nil(t, b.Cluster())
	require.NoError(t, b.Start())
	require.NoError(t, b.Start())

	assert.Equal(t, addr, b.Addr())
	produce(t, b, "numbers", 10, 12)
	var values []string
	for _, r := range tracingtest.ReadTopic(t, b.Addr(), "numbers", 11) {
		values = append(values, string(r.Value))
	}
	assert.Equal(t, []string{"0", "2", "4", "6", "8", "10", "1", "3", "5", "7", "9", "11"}, values)
	offsets, err := kadm.NewClient(newClient(t, b)).FetchOffsets(context.Background(), "group")
	require.NoError(t, err)
	committed, ok := offsets.Lookup("numbers", 1)
	require.True(t, ok)
	assert.EqualValues(t, 3, committed.At)
}

// What was written of the data while a broker ran is what kill -9 leaves of it.
func TestBrokerThatIsKilledKeepsRecordsAndOffsetsAndTakesMore(t *testing.T) {
	lived, killed := t.TempDir(), t.TempDir()
	b := startIn(t, tracingtest.FreeAddr(t), lived)
	b.CreateTopics(t, 1, "numbers")
	c := newClient(t, b, kgo.StopProducerOnDataLossDetected(), kgo.RecordDeliveryTimeout(time.Minute))
	number := func(n string) {
		t.Helper()
		require.NoError(t, c.ProduceSync(t.Context(), &kgo.Record{Topic: "numbers", Value: []byte(n)}).FirstErr())
	}
	number("0")
	b.Stop() // in order: writes more than there is after a kill, which must not be taken for what is so then
	require.NoError(t, b.Start())
	number("1")
	number("2")
	commits := kadm.Offsets{}
	commits.AddOffset("numbers", 0, 2, -1)
	require.NoError(t, kadm.NewClient(newClient(t, b)).CommitAllOffsets(t.Context(), "group", commits))
	require.NoError(t, os.CopyFS(killed, os.DirFS(lived)))
	b.Stop()

	b = startIn(t, b.Addr(), killed)
	number("3")
	var values []string
	for _, r := range tracingtest.ReadTopic(t, b.Addr(), "numbers", 4) {
		values = append(values, string(r.Value))
	}
	assert.Equal(t, []string{"0", "1", "2", "3"}, values)
	offsets, err := kadm.NewClient(newClient(t, b)).FetchOffsets(t.Context(), "group")
	require.NoError(t, err)
	committed, ok := offsets.Lookup("numbers", 0)
	require.True(t, ok)
	assert.EqualValues(t, 2, committed.At)
}

func startIn(t *testing.T, addr, dataDir string) *tracingtest.Broker {
	t.Helper()
	b, err := tracingtest.NewBroker(addr, dataDir)
	require.NoError(t, err)
	t.Cleanup(b.Stop)
	return b
}

func TestBrokerCreatesNoTopicOnItsOwn(t *testing.T) {
	b := tracingtest.StartBroker(t)
	c := newClient(t, b, kgo.AllowAutoTopicCreation(), kgo.UnknownTopicRetries(0))
	err := c.ProduceSync(context.Background(), &kgo.Record{Topic: "nowhere", Value: []byte("1")}).FirstErr()
	assert.ErrorIs(t, err, kerr.UnknownTopicOrPartition)
}

func TestNewBrokerSaysWhenTheAddressIsTaken(t *testing.T) {
	b := tracingtest.StartBroker(t)
	_, err := tracingtest.NewBroker(b.Addr(), "")
	require.Error(t, err)
	assert.Contains(t, err.Error(), b.Addr())
}

// A child holds a copy of each listener of its parent until its own program
// runs: an address is not free at once when the listener is closed.
func TestAddressesAreFreeWhileProcessesAreStarted(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	var starters sync.WaitGroup
	for range 4 {
		starters.Go(func() {
			for ctx.Err() == nil {
				_ = exec.CommandContext(ctx, "true").Run()
			}
		})
	}
	for range 200 {
		l, err := net.Listen("tcp", tracingtest.FreeAddr(t))
		if !assert.NoError(t, err) {
			break
		}
		_ = l.Close()
	}
	b := tracingtest.StartBroker(t)
	for range 20 {
		b.Stop()
		if !assert.NoError(t, b.Start()) {
			break
		}
	}
	stop()
	starters.Wait()
}
