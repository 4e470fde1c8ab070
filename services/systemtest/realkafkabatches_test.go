package systemtest

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const megabyte = 1_000_000

// What is packed well may be far larger than what Kafka lets through. The relay takes
// what unpacks to 32 MiB. A partition with more of zstd stalls, says so, and can be
// helped: while the relay runs by deleting the records, while it does not by setting
// the group behind them.
//
// Seen here with librdkafka 2.11.1: each try, two to eight in a second, makes an error
// event, "Decompression (codec 0x4) of message at 42 of 3019 bytes failed: Local:
// Invalid compressed data", that names no partition; the tries take 2 % of a processor
// together.
func TestRealKafkaBatchesThatUnpackToMuch(t *testing.T) {
	t.Parallel()
	s, collector := newFakedSystem(t, 0)
	last := int64(0)
	produce := func(partition int32) (traces []int64) {
		var batches [][]byte
		for range 20 {
			last++
			batches = append(batches, newBatch(last))
			traces = append(traces, last)
		}
		s.produceTo(partition, kgo.ZstdCompression(), batches...)
		return traces
	}
	taken := func(traces []int64) {
		t.Helper()
		s.eventually("what is good is delivered", func() (string, bool) {
			for _, trace := range traces {
				if collector.times(trace) == 0 {
					return fmt.Sprint(trace), false
				}
			}
			return "", true
		})
	}

	for _, size := range []int{3 * megabyte, 7 * megabyte} {
		s.produceTo(0, kgo.ZstdCompression(), make([]byte, size))
		taken(produce(0))
	}
	s.committed("tracing-relay")
	list := s.relay("dlq", "list")
	assert.Contains(t, list, "(cut from 3000000 bytes) no batch of spans")
	assert.Contains(t, list, "(cut from 7000000 bytes) no batch of spans")

	var behind [2]kadm.Offsets // what cannot be read
	var waiting [2][]int64
	for partition := range int32(2) {
		behind[partition].AddOffset("tracing-topic", partition, s.endOf(partition)+1, -1)
		s.javaProduce(partition, 98*megabyte)
		waiting[partition] = produce(partition)
	}
	s.eventually("both stalls are told", func() (string, bool) {
		taken(produce(2))
		status := s.relayStatus()
		assert.Equal(t, "delivering", status.State)
		return fmt.Sprint(status.Errors), len(status.Errors) == 2
	})
	for partition := range int32(2) {
		next, _ := behind[partition].Lookup("tracing-topic", partition)
		said := fmt.Sprintf("partition %d has more, but gives nothing from offset %d on; the client said: Decompression (codec 0x4)", partition, next.At-1)
		assert.Contains(t, fmt.Sprint(s.relayStatus().Errors), said)
	}
	assert.Contains(t, s.metrics("relay"), "\nconsumer_lasting_errors 2\n")
	s.ready("relay")
	taken(produce(2))
	assert.Equal(t, 2, strings.Count(s.logOf("relay"), "level=ERROR"), "each stall is told once")
	assert.Zero(t, collector.times(waiting[0][0])+collector.times(waiting[1][0]))

	deleted, err := kadm.NewClient(s.client).DeleteRecords(t.Context(), behind[0])
	require.NoError(t, err)
	require.NoError(t, deleted.Error())
	taken(waiting[0])
	s.eventually("one stall is over", func() (string, bool) {
		errs := s.relayStatus().Errors
		return fmt.Sprint(errs), len(errs) == 1
	})
	s.stop("relay")
	s.eventually("the group may be set, when the session of its static member is over", func() (string, bool) {
		err := kadm.NewClient(s.client).CommitAllOffsets(t.Context(), "tracing-relay", behind[1])
		return fmt.Sprint(err), err == nil
	})
	s.start("relay")
	taken(waiting[1])
	s.committed("tracing-relay")
	assert.Empty(t, s.relayStatus().Errors)
}

// metrics returns what an instance tells Prometheus.
func (s *system) metrics(instance string) string {
	s.t.Helper()
	response, err := http.Get("http://" + s.addr(instance) + "/metrics")
	require.NoError(s.t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(s.t, err)
	return string(text)
}

// endOf is where a partition of tracing-topic ends.
func (s *system) endOf(partition int32) int64 {
	s.t.Helper()
	ends, err := kadm.NewClient(s.client).ListEndOffsets(s.t.Context(), "tracing-topic")
	require.NoError(s.t, err)
	end, _ := ends.Lookup("tracing-topic", partition)
	return end.Offset
}

// produceTo writes values to a partition of tracing-topic in one batch, whatever it
// unpacks to.
func (s *system) produceTo(partition int32, codec kgo.CompressionCodec, values ...[]byte) {
	s.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(addresses(s.tracing)...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(codec), kgo.ProducerBatchMaxBytes(1<<29), kgo.BrokerMaxWriteBytes(1<<29), kgo.MaxBufferedRecords(1<<30), kgo.ManualFlushing())
	require.NoError(s.t, err)
	defer client.Close()
	for _, value := range values {
		client.Produce(s.t.Context(), &kgo.Record{Topic: "tracing-topic", Partition: partition, Value: value}, func(_ *kgo.Record, err error) { assert.NoError(s.t, err) })
	}
	require.NoError(s.t, client.Flush(s.t.Context()))
}

// javaProduce writes a record as Kafka's own client packs it.
func (s *system) javaProduce(partition int32, size int) {
	s.t.Helper()
	binary, err := findJava("java", 17)
	require.NoError(s.t, err)
	command := append(java(binary, os.Getenv("KAFKA_JARS"), 512), "jars/Produce.java", s.tracing.Addr(), "tracing-topic", fmt.Sprint(partition), fmt.Sprint(size))
	out, err := exec.CommandContext(s.t.Context(), command[0], command[1:]...).CombinedOutput()
	require.NoError(s.t, err, "%s", out)
}
