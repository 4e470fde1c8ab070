package systemtest

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"fault-tolerant-tracing/services/internal/collectortest"
)

// What an administrator, and clients of other kinds, do to a topic while the services
// run.
func TestRealKafkaTopicsChange(t *testing.T) {
	t.Parallel()
	s, collector := newFakedSystem(t, 0)
	last := int64(0)
	produce := func(partitions int32, each int) (traces []int64) {
		for partition := range partitions {
			var batches [][]byte
			for range each {
				last++
				batches = append(batches, newBatch(last))
				traces = append(traces, last)
			}
			s.produceTo(partition, kgo.NoCompression(), batches...)
		}
		return traces
	}
	taken := func(traces []int64) {
		t.Helper()
		began := time.Now()
		s.eventually("all are delivered", func() (string, bool) {
			missing := 0
			for _, trace := range traces {
				if collector.times(trace) == 0 {
					missing++
				}
			}
			return fmt.Sprintf("%d of %d are missing", missing, len(traces)), missing == 0
		})
		t.Logf("%d batches are delivered %s after they were written", len(traces), time.Since(began).Round(100*time.Millisecond))
		s.committed("tracing-relay")
	}
	admin := kadm.NewClient(s.client)

	t.Run("a topic gets more partitions", func(t *testing.T) {
		for _, name := range programs[1:5] {
			s.start(name)
		}
		s.ready(programs[1:]...)
		taken(produce(6, 1))
		for topic, partitions := range map[string]int{"number-topic": 6, "tracing-topic": 10} {
			updated, err := admin.UpdatePartitions(t.Context(), partitions, topic)
			require.NoError(t, err)
			require.NoError(t, updated.Error())
		}
		began := time.Now()
		traces := produce(10, 1)
		for partition := range int32(6) {
			s.producePlain("number-topic", partition, fmt.Append(nil, 2*partition))
		}
		s.arrived(6)
		t.Logf("all numbers have arrived after %s", time.Since(began).Round(100*time.Millisecond))
		taken(traces)
		assert.Less(t, time.Since(began), time.Minute)
		for _, name := range programs[1:5] {
			s.stop(name) // its spans would be on the topic too
		}
	})

	t.Run("a partition ends with the marker of a transaction", func(t *testing.T) {
		client, err := kgo.NewClient(kgo.SeedBrokers(addresses(s.tracing)...), kgo.TransactionalID("test"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		require.NoError(t, err)
		defer client.Close()
		for _, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort} {
			require.NoError(t, client.BeginTransaction())
			last++
			require.NoError(t, client.ProduceSync(t.Context(), &kgo.Record{Topic: "tracing-topic", Value: newBatch(last)}).FirstErr())
			require.NoError(t, client.EndTransaction(t.Context(), end))
			s.committed("tracing-relay") // the marker too
			s.eventually("no lag is left", func() (string, bool) { return fmt.Sprint(s.relayStatus()), s.caughtUp() })
			assert.Equal(t, end == kgo.TryCommit, collector.times(last) > 0)
		}
	})

	remake := func() {
		_, err := admin.DeleteTopic(t.Context(), "tracing-topic")
		require.NoError(t, err)
		s.eventually("the topic is made anew", func() (string, bool) {
			made, err := admin.CreateTopic(t.Context(), 6, 1, nil, "tracing-topic")
			return fmt.Sprint(made, err), err == nil
		})
	}
	t.Run("it is made anew while the relay is down", func(*testing.T) {
		s.stop("relay")
		remake()
		traces := produce(6, 20) // more than before
		s.start("relay")
		taken(traces)
	})
	t.Run("it is made anew while the relay runs", func(*testing.T) {
		remake()
		taken(produce(6, 40))
	})
	s.stop("relay")
}

// producePlain writes a record to a partition.
func (s *system) producePlain(topic string, partition int32, value []byte) {
	s.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(addresses(s.broker)...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.UnknownTopicRetries(-1))
	require.NoError(s.t, err)
	defer client.Close()
	require.NoError(s.t, client.ProduceSync(s.t.Context(), &kgo.Record{Topic: topic, Partition: partition, Value: value}).FirstErr())
}

// A relay that is told to stop hands its partitions over with what it has sent
// committed, that and no more: nothing is sent twice, nothing is lost.
func TestRealKafkaRelaysStopUnderLoad(t *testing.T) {
	t.Parallel()
	const stops = 5
	c := &fakeCollector{taken: map[int64]int{}}
	k := startKafka(t, 1, nil)
	collector := collectortest.Start(t, func(w http.ResponseWriter, p collectortest.Post) {
		time.Sleep(100 * time.Millisecond) // so that some posts are under way at any moment
		c.answer(w, p)
	})
	s := newSystemFor(t, k, k, collector.URL(), kafkaPatience)
	s.extra = []string{"GROUP_INSTANCE_ID="} // with a name of its own a member is waited for
	s.makeTopics()
	relays := []string{"relay", "relay-2"}
	for _, name := range relays {
		s.start(name)
	}
	s.members("tracing-relay", 2, 6)
	stop, produced := make(chan struct{}), []int64(nil)
	var producing sync.WaitGroup
	producing.Go(func() { produced = s.produceBatches(stop) })
	for i := range stops {
		sent := s.statusOf(relays[i%2]).SpansSent
		s.eventually("it delivers", func() (string, bool) { return "", s.statusOf(relays[i%2]).SpansSent > sent })
		s.stop(relays[i%2])
		s.members("tracing-relay", 1, 6)
		s.start(relays[i%2])
		s.members("tracing-relay", 2, 6)
	}
	close(stop)
	producing.Wait()
	s.committed("tracing-relay")
	var lost, doubles []int64
	for _, trace := range produced {
		switch c.times(trace) {
		case 0:
			lost = append(lost, trace)
		case 1:
		default:
			doubles = append(doubles, trace)
		}
	}
	t.Logf("%d batches, %d stops", len(produced), stops)
	assert.Empty(t, lost)
	assert.Empty(t, doubles)
}
