package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/uber/jaeger-client-go/thrift-gen/jaeger"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"fault-tolerant-tracing/services/internal/collectortest"
	"fault-tolerant-tracing/services/internal/deadletter"
	"fault-tolerant-tracing/tracing/batch"
	"fault-tolerant-tracing/tracing/tracingtest"
)

// maxIndexed is from how many bytes on Badger has no key for a tag, a log field or an
// operation.
const maxIndexed = 65_000

// badger stands in for Jaeger with its store: it answers 500 to a post with a span
// that it cannot index, and stores the other spans of that post all the same.
type badger struct {
	*collectortest.Collector

	mu     sync.Mutex
	stored map[string]time.Time // by operation, when it came first
}

func startBadger(t *testing.T) *badger {
	b := &badger{stored: map[string]time.Time{}}
	b.Collector = collectortest.Start(t, b.store)
	return b
}

func (b *badger) store(w http.ResponseWriter, p collectortest.Post) {
	if p.Services == nil {
		http.Error(w, "unable to process request body", http.StatusBadRequest)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	status := http.StatusAccepted
	for _, s := range p.Spans {
		if !indexable(s) {
			status = http.StatusInternalServerError
		} else if _, known := b.stored[s.Name()]; !known {
			b.stored[s.Name()] = time.Now()
		}
	}
	w.WriteHeader(status)
}

func indexable(s collectortest.Span) bool {
	for _, event := range s.Events().All() {
		if !indexableValues(event.Attributes()) {
			return false
		}
	}
	return len(s.Name()) < maxIndexed && indexableValues(s.Attributes())
}

func indexableValues(attributes pcommon.Map) bool {
	for _, value := range attributes.All() {
		if len(value.AsString()) >= maxIndexed {
			return false
		}
	}
	return true
}

// has tells whether a span with this operation is stored.
func (b *badger) has(operation string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.stored[operation].IsZero()
}

// largeTag is one that Badger has no key for.
func largeTag() *jaeger.Tag {
	value := strings.Repeat("x", maxIndexed)
	return &jaeger.Tag{Key: "large", VType: jaeger.TagType_STRING, VStr: &value}
}

// put writes records, each to the partition it names.
func (r *rig) put(records ...*kgo.Record) {
	r.t.Helper()
	for _, record := range records {
		record.Topic = topic
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*patience)
	defer cancel()
	require.NoError(r.t, r.writer.ProduceSync(ctx, records...).FirstErr())
}

// putCompressed is put for records of any size that zstd makes small. Each goes by
// itself.
func (r *rig) putCompressed(records ...*kgo.Record) {
	r.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(r.broker.Addr()), kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.ZstdCompression()), kgo.ProducerBatchMaxBytes(16<<20))
	require.NoError(r.t, err)
	defer client.Close()
	for _, record := range records {
		require.NoError(r.t, client.ProduceSync(r.t.Context(), record).FirstErr())
	}
}

// makeDLQ makes tracing-dlq, which takes record batches up to so many bytes.
func (r *rig) makeDLQ(maxBytes int) {
	r.t.Helper()
	limit := strconv.Itoa(maxBytes)
	_, err := kadm.NewClient(r.client).CreateTopic(r.t.Context(), 1, 1, map[string]*string{"max.message.bytes": &limit}, dlq)
	require.NoError(r.t, err)
}

// in makes records of values, for one partition.
func in(partition int32, values ...[]byte) []*kgo.Record {
	records := make([]*kgo.Record, len(values))
	for i, value := range values {
		records[i] = &kgo.Record{Partition: partition, Value: value}
	}
	return records
}

// traffic is what goes on meanwhile: some good records of one span in each partition,
// twenty times a second.
type traffic struct {
	mu      sync.Mutex
	written map[string]time.Time // by operation
	stop    func()
}

func (r *rig) traffic(records int) *traffic {
	ctx, cancel := context.WithCancel(context.Background())
	v := &traffic{written: map[string]time.Time{}}
	var work sync.WaitGroup
	work.Go(func() {
		ticks := time.NewTicker(50 * time.Millisecond)
		defer ticks.Stop()
		for n := 0; ; n++ {
			for i := range 3 * records {
				name := fmt.Sprintf("good-%d-%d", n, i)
				v.mu.Lock()
				v.written[name] = time.Now()
				v.mu.Unlock()
				r.writer.Produce(context.Background(), &kgo.Record{Topic: topic, Partition: int32(i % 3), Value: newBatch(r.t, name)}, func(_ *kgo.Record, err error) {
					assert.NoError(r.t, err)
				})
			}
			select {
			case <-ctx.Done():
				assert.NoError(r.t, r.writer.Flush(context.Background()))
				return
			case <-ticks.C:
			}
		}
	})
	v.stop = sync.OnceFunc(func() { cancel(); work.Wait() })
	r.t.Cleanup(v.stop)
	return v
}

// requirePrompt ends the traffic, waits until all of it has arrived, and requires that
// no record was long on its way, which is what happens to those that wait for a bad
// one.
func (v *traffic) requirePrompt(r *rig, arrived func(operation string) time.Time, limit time.Duration) {
	r.t.Helper()
	v.stop()
	var delays []time.Duration
	for name, at := range v.written {
		r.eventually(name+" has arrived", func() bool { return !arrived(name).IsZero() })
		delays = append(delays, arrived(name).Sub(at))
	}
	slices.Sort(delays)
	r.t.Logf("%d good records: median %s, p99 %s, longest %s", len(delays), delays[len(delays)/2], delays[len(delays)*99/100], delays[len(delays)-1])
	assert.Less(r.t, delays[len(delays)-1], limit)
}

// arrived is for [traffic.requirePrompt].
func (b *badger) arrived(operation string) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stored[operation]
}

// pending is how many records the relay has read and not finished.
func (r *rig) pending() int {
	r.t.Helper()
	s := r.status()
	waiting, _ := s["waiting"].(float64)
	sending, _ := s["in_flight"].(float64)
	return int(waiting + sending)
}

// count returns one of the counts of the status.
func (r *rig) count(name string) int {
	r.t.Helper()
	counts, _ := r.status()["counts"].(map[string]any)
	n, _ := counts[name].(float64)
	return int(n)
}

// awaitSetAside waits until so many records, and parts of some, are set aside. That has
// no hurry, and takes several tries for each: it fails when no more come for a long time.
func (r *rig) awaitSetAside(n int) {
	r.t.Helper()
	last, changed := 0, time.Now()
	require.Eventually(r.t, func() bool {
		if now := r.count("set_aside"); now > last {
			last, changed = now, time.Now()
		}
		return last >= n || time.Since(changed) > 3*patience
	}, 10*time.Minute, 50*time.Millisecond)
	require.Equal(r.t, n, r.count("set_aside"), "all that is bad is set aside")
}

// letters waits until there are so many on tracing-dlq, and returns all.
func (r *rig) letters(atLeast int) []deadletter.Entry {
	r.t.Helper()
	var entries []deadletter.Entry
	for _, record := range tracingtest.ReadTopic(r.t, r.broker.Addr(), dlq, atLeast) {
		m := &kafka.Message{Key: record.Key, Value: record.Value}
		for _, h := range record.Headers {
			m.Headers = append(m.Headers, kafka.Header{Key: h.Key, Value: h.Value})
		}
		entries = append(entries, deadletter.Read(m))
	}
	return entries
}

// spansOf returns the operations of the spans in a letter, which is a batch of the
// process "test".
func spansOf(t *testing.T, e deadletter.Entry) (names []string) {
	t.Helper()
	b, err := batch.Decode(e.Value)
	require.NoError(t, err)
	assert.Equal(t, "test", b.Process.ServiceName)
	for _, s := range b.Spans {
		names = append(names, s.OperationName)
	}
	return names
}

// holds is how often the relay began to hold.
func (r *rig) holds() int { return strings.Count(r.logs.String(), "holding, trying again") }

// metric asks for the value of a metric; NaN: there is none.
func (r *rig) metric(name string) float64 {
	r.t.Helper()
	response, err := http.Get("http://" + r.addr + "/metrics")
	require.NoError(r.t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(r.t, err)
	found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindSubmatch(text)
	if found == nil {
		return math.NaN()
	}
	value, err := strconv.ParseFloat(string(found[1]), 64)
	require.NoError(r.t, err)
	return value
}
