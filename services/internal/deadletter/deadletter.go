// Package deadletter keeps records that can never be handled on a topic of
// their own, with the reason and the place they came from in the headers.
//
// A record is set aside only when the broker has acknowledged it; until then
// the caller must not commit its offset. Setting a record aside twice, after a
// crash, gives two copies.
package deadletter

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"fault-tolerant-tracing/services/internal/dispatch"
	"fault-tolerant-tracing/tracing/kafkaclient"
)

// The headers added to a record that is set aside. Its own headers are kept.
const (
	HeaderReason    = "dlq.reason"
	HeaderTopic     = "dlq.topic"
	HeaderPartition = "dlq.partition"
	HeaderOffset    = "dlq.offset"
	HeaderTime      = "dlq.time"      // RFC 3339
	HeaderTruncated = "dlq.truncated" // "true": the record was cut; otherwise there is no such header
	HeaderBytes     = "dlq.bytes"     // size of key, value and headers before it was cut
)

// MaxBytes is what a dead-letter topic and its producers must take: more than
// the 1 048 588 bytes of any record of another topic, so that every one of them
// can be set aside with its headers.
const MaxBytes = 2 << 20

// Queue sets records aside on one topic. It is safe for several goroutines.
type Queue struct {
	producer *kafkaclient.Producer
	topic    string
}

// New makes a queue that writes to topic. The producer stays the caller's.
func New(producer *kafkaclient.Producer, topic string) *Queue {
	return &Queue{producer: producer, topic: topic}
}

// SetAside writes the record, and blocks until the broker has acknowledged it
// or ctx ends. It fits [dispatch.Config].
func (q *Queue) SetAside(ctx context.Context, r *dispatch.Record, reason error) error {
	return q.SetAsideValue(ctx, r, r.Value, reason)
}

// SetAsideValue is SetAside with another value, for a part of the record.
func (q *Queue) SetAsideValue(ctx context.Context, r *dispatch.Record, value []byte, reason error) error {
	place := r.TopicPartition
	return q.send(ctx, r.Key, value, r.Headers, Headers(*place.Topic, place.Partition, int64(place.Offset), reason))
}

// SetAsideAgain is SetAside for what was set aside before, or a part of it: it
// keeps where it came from.
func (q *Queue) SetAsideAgain(ctx context.Context, e Entry, value []byte, reason error) error {
	added := Headers(e.Topic, e.Partition, e.Offset, reason)
	if e.CutFrom > 0 {
		added[HeaderTruncated], added[HeaderBytes] = []byte("true"), []byte(strconv.Itoa(e.CutFrom))
	}
	return q.send(ctx, e.Key, value, e.Headers, added)
}

func (q *Queue) send(ctx context.Context, key, value []byte, own []kafka.Header, added map[string][]byte) error {
	headers := slices.Clone(own)
	for key, value := range added {
		headers = append(headers, kafka.Header{Key: key, Value: value})
	}
	_, err := q.producer.Send(ctx, &kafka.Message{
		TopicPartition: kafka.TopicPartition{Topic: &q.topic, Partition: kafka.PartitionAny},
		Key:            key,
		Value:          value,
		Headers:        headers,
	})
	if err != nil {
		return fmt.Errorf("produce to %s: %w", q.topic, err)
	}
	return nil
}

// Headers tells where a record came from and why it was set aside, for clients
// that have a producer of their own.
func Headers(topic string, partition int32, offset int64, reason error) map[string][]byte {
	return map[string][]byte{
		HeaderReason:    []byte(reason.Error()),
		HeaderTopic:     []byte(topic),
		HeaderPartition: []byte(strconv.Itoa(int(partition))),
		HeaderOffset:    []byte(strconv.FormatInt(offset, 10)),
		HeaderTime:      []byte(time.Now().UTC().Format(time.RFC3339Nano)),
	}
}
