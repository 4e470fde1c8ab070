package systemtest

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/uber/jaeger-client-go/thrift"
	thriftgen "github.com/uber/jaeger-client-go/thrift-gen/jaeger"

	"fault-tolerant-tracing/tracing/tracingtest"
)

// kills is how often the tests kill.
var kills = flag.Int("kills", 20, "how often relay, and replay, are killed at random points")

// The relay is killed with SIGKILL at random points of its work while batches
// keep coming. Every span must be in Jaeger in the end.
func TestKilledRelayLosesNothing(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.makeTopics()
	random := rand.New(rand.NewPCG(2026, 1))

	stop := make(chan struct{})
	var produced []int64
	var producing sync.WaitGroup
	producing.Go(func() { produced = s.produceBatches(stop) })

	for range *kills {
		s.start("relay")
		s.eventually("this relay delivers", func() (string, bool) { return "", s.relayStatus().SpansSent > 0 })
		select { // a random moment of its work
		case <-time.After(time.Duration(random.IntN(200)) * time.Millisecond):
		case <-t.Context().Done():
		}
		s.kill("relay")
	}
	close(stop)
	producing.Wait()
	s.start("relay")

	s.eventually("the relay has caught up", func() (string, bool) { return fmt.Sprint(s.relayStatus()), s.caughtUp() })
	s.requireTraces(produced)
	assert.Empty(t, tracingtest.ReadTopic(t, s.tracing.Addr(), "tracing-dlq", 0))
	t.Logf("%d batches of %d spans, %d kills, none lost", len(produced), spansPerBatch, *kills)
}

// requireTraces asks Jaeger for every span of the batches.
func (s *system) requireTraces(ids []int64) {
	s.t.Helper()
	require.NotEmpty(s.t, ids)
	for _, id := range ids {
		trace, err := s.query.Trace(s.t.Context(), fmt.Sprintf("%016x", uint64(id)))
		require.NoError(s.t, err, "trace %x", id)
		require.Len(s.t, trace.Spans, spansPerBatch, "trace %x", id)
	}
}

// A replay that is killed at random points of its work, and run again until it
// ends by itself, brings every span to a Jaeger that had none.
func TestKilledReplayIsRunAgain(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.makeTopics()
	random := rand.New(rand.NewPCG(2026, 2))
	stop, produced := make(chan struct{}), []int64(nil)
	var producing sync.WaitGroup
	producing.Go(func() { produced = s.produceBatches(stop) })
	select {
	case <-time.After(3 * time.Second):
	case <-t.Context().Done():
	}
	close(stop)
	producing.Wait()

	replay := []string{"replay", "--since", "1h"}
	killed := 0
	for range *kills {
		s.start("relay", replay...)
		select {
		case <-time.After(time.Duration(50+random.IntN(400)) * time.Millisecond):
		case <-t.Context().Done():
		}
		if s.procs["relay"].running() {
			killed++
		}
		s.kill("relay")
	}
	s.start("relay", replay...)
	s.wait("relay")
	s.requireTraces(produced)
	t.Logf("%d batches of %d spans, killed %d times of %d, none lost", len(produced), spansPerBatch, killed, *kills)
}

// Of two relays with one name in the group the older is told to go. It has to
// end, and say why, so that whoever watches over it can see.
func TestARelayWhoseNameIsTakenEnds(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.startRelay()
	older := s.procs["relay"] // younger than its session timeout
	s.addrs["relay"] = tracingtest.FreeAddr(t)
	s.start("relay")
	s.ready("relay")
	select {
	case <-older.done:
	case <-time.After(patience):
		t.Fatal("the older relay has not ended")
	}
	assert.Equal(t, 1, older.cmd.ProcessState.ExitCode())
	assert.Contains(t, s.logOf("relay"), "enced")
}

const spansPerBatch = 9

// produceBatches writes batches to tracing-topic, each a trace of its own, until
// stop is closed. It returns the ids of the traces that the broker has
// acknowledged.
func (s *system) produceBatches(stop <-chan struct{}) (ids []int64) {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for id := int64(1); ; id++ {
		select {
		case <-stop:
			return ids
		case <-ticker.C:
		}
		key := binary.BigEndian.AppendUint64(nil, uint64(id%7)) // seven client processes
		ctx, cancel := context.WithTimeout(context.Background(), s.patience)
		err := s.client.ProduceSync(ctx, &kgo.Record{Topic: "tracing-topic", Key: key, Value: newBatch(id)}).FirstErr()
		cancel()
		if err != nil {
			s.t.Errorf("produce: %v", err)
			return ids
		}
		ids = append(ids, id)
	}
}

func newBatch(trace int64) []byte {
	b := thriftgen.Batch{Process: &thriftgen.Process{ServiceName: "killed"}}
	for i := range int64(spansPerBatch) {
		b.Spans = append(b.Spans, &thriftgen.Span{
			TraceIdLow: trace, SpanId: i + 1, ParentSpanId: i, OperationName: "work", Flags: 1, StartTime: time.Now().UnixMicro(), Duration: 100,
		})
	}
	return encode(&b)
}

func encode(b *thriftgen.Batch) []byte {
	buffer := thrift.NewTMemoryBuffer()
	if err := b.Write(context.Background(), thrift.NewTBinaryProtocolConf(buffer, nil)); err != nil {
		panic(err) // memory does not fail
	}
	return buffer.Bytes()
}
