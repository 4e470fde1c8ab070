// Package scan reads a topic from one place to another. It joins no consumer
// group and commits nothing, so that nobody else notices.
package scan

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"fault-tolerant-tracing/services/internal/kafkaadmin"
	"fault-tolerant-tracing/tracing/kafkaclient"
)

const (
	answerTimeout = 10 * time.Second // for one question about offsets
	queueBytes    = 16 << 20         // fetched ahead of what is being handled
	fetchBytes    = 2 << 20          // of a partition at once; the largest record of a dead-letter topic

	// group is not joined; librdkafka wants a name.
	group = "relay-scan"
)

// Topic is a topic to be read. It is for one goroutine, which closes it.
type Topic struct {
	name, brokers string
	consumer      *kafka.Consumer
	partitions    []int32
}

// Open waits for the cluster 10 seconds at most. Its error is a sentence for
// people: that Kafka does not answer, or has no such topic.
func Open(ctx context.Context, cluster kafkaclient.Cluster, name string) (*Topic, error) {
	if err := kafkaadmin.Reach(ctx, cluster, name); err != nil {
		return nil, err
	}
	consumer, err := newConsumer(cluster)
	if err != nil {
		return nil, fmt.Errorf("make the reader of %s: %w", name, err)
	}
	t := &Topic{name: name, brokers: strings.Join(cluster.Brokers, ","), consumer: consumer}
	metadata, err := consumer.GetMetadata(&name, false, int(answerTimeout.Milliseconds()))
	if err != nil {
		t.Close()
		return nil, fmt.Errorf("ask for the partitions of %s: %w", name, err)
	}
	for _, p := range metadata.Topics[name].Partitions {
		t.partitions = append(t.partitions, p.ID)
	}
	slices.Sort(t.partitions)
	return t, nil
}

func newConsumer(cluster kafkaclient.Cluster) (*kafka.Consumer, error) {
	settings := cluster.ConfigMap()
	for key, value := range map[string]kafka.ConfigValue{
		"group.id":                   group,
		"enable.auto.commit":         false,
		"enable.auto.offset.store":   false,
		"enable.partition.eof":       true,
		"auto.offset.reset":          "earliest", // what retention has removed meanwhile is passed over
		"fetch.message.max.bytes":    fetchBytes,
		"fetch.wait.max.ms":          100,
		"queued.max.messages.kbytes": queueBytes >> 10,
		"go.logs.channel.enable":     false, // a command tells its errors itself
		"log_level":                  0,
	} {
		settings[key] = value
	}
	return kafkaclient.NewConsumer(&settings)
}

// Close releases the client.
func (t *Topic) Close() { _ = t.consumer.Close() }

// Partitions returns how many partitions the topic has.
func (t *Topic) Partitions() int { return len(t.partitions) }

// Range is a part of a partition: the offsets from From up to, without, To.
type Range struct {
	Partition int32
	From, To  int64
}

// Records returns how many offsets the ranges span. There are as many records,
// unless the topic is compacted or written to in transactions.
func Records(ranges []Range) int64 {
	var total int64
	for _, r := range ranges {
		total += max(0, r.To-r.From)
	}
	return total
}

// All returns everything that is on the topic now.
func (t *Topic) All() ([]Range, error) {
	ranges := make([]Range, 0, len(t.partitions))
	for _, p := range t.partitions {
		low, high, err := t.consumer.QueryWatermarkOffsets(t.name, p, int(answerTimeout.Milliseconds()))
		if err != nil {
			return nil, fmt.Errorf("ask kafka at %s where partition %d of %s begins and ends: %w", t.brokers, p, t.name, err)
		}
		ranges = append(ranges, Range{Partition: p, From: low, To: high})
	}
	return ranges, nil
}

// Between returns what is on the topic now, from the first record of each
// partition whose timestamp is not before from, up to the first one whose
// timestamp is not before to. A zero time stands for the beginning or the end.
// Timestamps need not grow along a partition: records before to may lie behind
// that one, but none that is not before from lies in front of the first.
func (t *Topic) Between(from, to time.Time) ([]Range, error) {
	ranges, err := t.All()
	if err != nil {
		return nil, err
	}
	begins, err := t.firstFrom(from)
	if err != nil {
		return nil, err
	}
	ends, err := t.firstFrom(to)
	if err != nil {
		return nil, err
	}
	for i, r := range ranges {
		if !from.IsZero() {
			ranges[i].From = within(begins[r.Partition], r)
		}
		if !to.IsZero() {
			ranges[i].To = max(ranges[i].From, within(ends[r.Partition], r))
		}
	}
	return ranges, nil
}

// firstFrom returns the first offset of each partition whose record is not older
// than at; a negative one if there is none.
func (t *Topic) firstFrom(at time.Time) (map[int32]int64, error) {
	if at.IsZero() {
		return nil, nil
	}
	var questions []kafka.TopicPartition
	for _, p := range t.partitions {
		questions = append(questions, kafka.TopicPartition{Topic: &t.name, Partition: p, Offset: kafka.Offset(at.UnixMilli())})
	}
	answers, err := t.consumer.OffsetsForTimes(questions, int(answerTimeout.Milliseconds()))
	if err != nil {
		return nil, fmt.Errorf("ask kafka at %s for the offsets of %s at %s: %w", t.brokers, t.name, at.Format(time.RFC3339), err)
	}
	offsets := map[int32]int64{}
	for _, a := range answers {
		if a.Error != nil {
			return nil, fmt.Errorf("ask kafka at %s for the offsets of %s at %s: %w", t.brokers, t.name, at.Format(time.RFC3339), a.Error)
		}
		offsets[a.Partition] = int64(a.Offset)
	}
	return offsets, nil
}

// within returns the offset, or the end of r if it stands for that.
func within(offset int64, r Range) int64 {
	if offset < 0 {
		return r.To
	}
	return min(max(offset, r.From), r.To)
}
