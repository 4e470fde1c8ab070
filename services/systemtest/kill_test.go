package systemtest

import (
	"context"
	"encoding/binary"
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

// The relay is killed with SIGKILL at random points of its work, 20 times, while
// batches keep coming. Every span must be in Jaeger in the end.
func TestKilledRelayLosesNothing(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.start("topic-config")
	s.wait("topic-config")
	random := rand.New(rand.NewPCG(2026, 1))

	stop := make(chan struct{})
	var produced []int64
	var producing sync.WaitGroup
	producing.Go(func() { produced = s.produceBatches(stop) })

	for range 20 {
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
	require.NotEmpty(t, produced)
	for _, id := range produced {
		trace, err := s.query.Trace(t.Context(), fmt.Sprintf("%016x", uint64(id)))
		require.NoError(t, err, "trace %x", id)
		assert.Len(t, trace.Spans, spansPerBatch, "trace %x", id)
	}
	assert.Empty(t, tracingtest.ReadTopic(t, s.tracing.Addr(), "tracing-dlq", 0))
	t.Logf("%d batches of %d spans, 20 kills, none lost", len(produced), spansPerBatch)
}

// Of two relays with one name in the group the older is told to go. It has to
// end, and say why, so that whoever watches over it can see.
func TestARelayWhoseNameIsTakenEnds(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.start("topic-config")
	s.wait("topic-config")
	s.start("relay")
	s.ready("relay")
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
	buffer := thrift.NewTMemoryBuffer()
	if err := b.Write(context.Background(), thrift.NewTBinaryProtocolConf(buffer, nil)); err != nil {
		panic(err) // memory does not fail
	}
	return buffer.Bytes()
}
