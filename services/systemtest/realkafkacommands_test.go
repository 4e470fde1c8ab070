package systemtest

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"fault-tolerant-tracing/services/internal/jaeger"
)

// The topic is archived while batches come and the relay delivers them. When
// Kafka has deleted them all, the archive brings every span to a Jaeger that had
// none.
func TestRealKafkaArchiveOutlivesTheTopic(t *testing.T) {
	t.Parallel()
	const archiver, enough = "relay-2", 2000 // spans
	s := newKafkaSystem(t)
	s.makeTopics()
	url := "file://" + t.TempDir()
	s.start(archiver, "archive", "--to", url, "--every", "500ms")
	s.start("relay")
	stop, produced := make(chan struct{}), []int64(nil)
	var producing sync.WaitGroup
	producing.Go(func() { produced = s.produceBatches(stop) })
	s.eventually("the relay delivers", func() (string, bool) {
		sent := s.relayStatus().SpansSent
		return fmt.Sprint(sent), sent >= enough
	})
	close(stop)
	producing.Wait()
	s.committed("tracing-archive")
	s.committed("tracing-relay")
	s.stop(archiver)

	s.deleteRecords("tracing-topic")
	assert.Contains(t, s.relay("replay", "--since", "1h"), "sent 0 records with 0 spans")
	assert.Contains(t, s.relay("archive", "verify", url), "\nwhole: ")
	empty := jaeger.StartForTest(t)
	restored := s.relay("replay", "--archive", url, "--endpoint", empty.OTLPEndpoint())
	s.query = jaeger.NewQuery(empty.QueryURL())
	t.Cleanup(s.query.Close)
	s.requireTraces(produced)
	t.Logf("%d batches of %d spans: %s", len(produced), spansPerBatch, restored)
}

// What the relay has set aside is sent again when Jaeger takes it, and Kafka has
// deleted it then.
func TestRealKafkaRedriveEmptiesTheDeadLetterTopic(t *testing.T) {
	t.Parallel()
	const poison, good = 1, 2
	s, collector := newFakedSystem(t, poison)
	s.produceTraces(time.Now(), poison)
	s.eventually("it is refused", func() (string, bool) { return "", collector.refusals() > 0 })
	// Others are taken, so the fault is its own: each of its spans is set aside, alone.
	for trace := int64(good); s.count("tracing-dlq") < spansPerBatch; trace++ {
		s.produceTraces(time.Now(), trace)
		s.eventually("another one is taken", func() (string, bool) { return "", collector.times(trace) > 0 })
	}
	assert.Contains(t, s.relay("dlq", "list"), "jaeger answered 400 Bad Request: poison")
	assert.Zero(t, collector.times(poison))

	collector.takeAll()
	assert.Contains(t, s.relay("dlq", "redrive"), fmt.Sprintf("sent %d records with %[1]d spans", spansPerBatch))
	assert.Equal(t, 1, collector.times(poison))
	assert.Zero(t, s.count("tracing-dlq"))
	assert.Equal(t, "tracing-dlq is empty\n", s.relay("dlq", "list"))
}

// Kafka knows the offsets of a time: that, and nothing else, is sent again.
func TestRealKafkaReplayOfATime(t *testing.T) {
	t.Parallel()
	s, collector := newFakedSystem(t, 0)
	now := time.Now()
	old, young := []int64{1, 2, 3, 4, 5, 6, 7, 8}, []int64{9, 10, 11, 12}
	s.produceTraces(now.Add(-time.Hour), old...)
	s.produceTraces(now, young...)
	s.committed("tracing-relay")
	require.Equal(t, append(slices.Clone(old), young...), collector.forget())

	s.relay("replay", "--since", "30m", "--service", "killed")
	assert.Equal(t, young, collector.forget())
	s.relay("replay", "--from", now.Add(-2*time.Hour).Format(time.RFC3339), "--to", now.Add(-30*time.Minute).Format(time.RFC3339))
	assert.Equal(t, old, collector.forget())
	s.relay("replay", "--trace", "b")
	assert.Equal(t, []int64{11}, collector.forget())
	s.relay("replay", "--since", "2h", "--dry-run")
	assert.Empty(t, collector.forget())
}

// relay runs a command of the relay that ends well, and returns what it printed.
func (s *system) relay(args ...string) string {
	s.t.Helper()
	name := fmt.Sprintf("relay-%d", 100+len(s.procs))
	s.start(name, args...)
	s.wait(name)
	return s.logOf(name)
}

// committed waits until a group has committed all that lies on tracing-topic.
func (s *system) committed(group string) {
	s.t.Helper()
	admin := kadm.NewClient(s.client)
	s.eventually(group+" has committed all", func() (string, bool) {
		ends, err := admin.ListEndOffsets(s.t.Context(), "tracing-topic")
		if err != nil {
			return err.Error(), false
		}
		offsets, err := admin.FetchOffsets(s.t.Context(), group)
		if err != nil {
			return err.Error(), false
		}
		var there, done int64
		ends.Each(func(o kadm.ListedOffset) { there += o.Offset })
		offsets.Each(func(o kadm.OffsetResponse) { done += max(0, o.At) })
		return fmt.Sprintf("%d of %d", done, there), there > 0 && done == there
	})
}

// count is how many records a topic has.
func (s *system) count(topic string) (records int64) {
	s.t.Helper()
	admin := kadm.NewClient(s.client)
	begins, err := admin.ListStartOffsets(s.t.Context(), topic)
	require.NoError(s.t, err)
	ends, err := admin.ListEndOffsets(s.t.Context(), topic)
	require.NoError(s.t, err)
	ends.Each(func(end kadm.ListedOffset) {
		begin, _ := begins.Lookup(topic, end.Partition)
		records += end.Offset - begin.Offset
	})
	return records
}

// deleteRecords makes a topic as empty as its retention does.
func (s *system) deleteRecords(topic string) {
	s.t.Helper()
	admin := kadm.NewClient(s.client)
	ends, err := admin.ListEndOffsets(s.t.Context(), topic)
	require.NoError(s.t, err)
	deleted, err := admin.DeleteRecords(s.t.Context(), ends.Offsets())
	require.NoError(s.t, err)
	require.NoError(s.t, deleted.Error())
	require.Zero(s.t, s.count(topic))
}

// produceTraces writes a batch for each of these traces to tracing-topic.
func (s *system) produceTraces(at time.Time, traces ...int64) {
	s.t.Helper()
	for _, trace := range traces {
		key := fmt.Append(nil, trace%3)
		err := s.client.ProduceSync(s.t.Context(), &kgo.Record{Topic: "tracing-topic", Key: key, Timestamp: at, Value: newBatch(trace)}).FirstErr()
		require.NoError(s.t, err)
	}
}
