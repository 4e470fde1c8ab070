package scan

import (
	"context"
	"fmt"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"fault-tolerant-tracing/tracing/kafkaclient"
)

const (
	pollTimeout = 100 * time.Millisecond

	// silence after which Kafka counts as gone: a broker that is started anew is
	// back earlier.
	silence = time.Minute
)

// Read calls yield for each record of the ranges, those of a partition in order.
// It blocks until the last one, until ctx ends, until yield returns an error,
// which it returns, or until Kafka has been silent for a minute. The record is
// yield's to keep.
func (t *Topic) Read(ctx context.Context, ranges []Range, yield func(*kafka.Message) error) error {
	r := reading{topic: t, ends: map[int32]int64{}, heard: time.Now()}
	var from []kafka.TopicPartition
	for _, part := range ranges {
		if part.From < part.To {
			r.ends[part.Partition] = part.To
			from = append(from, kafka.TopicPartition{Topic: &t.name, Partition: part.Partition, Offset: kafka.Offset(part.From)})
		}
	}
	if len(from) == 0 {
		return ctx.Err()
	}
	if err := t.consumer.Assign(from); err != nil {
		return fmt.Errorf("read %s: %w", t.name, err)
	}
	defer t.consumer.Unassign() //nolint:errcheck // of a client that has no group: nothing is sent
	for len(r.ends) > 0 {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := r.handle(t.consumer.Poll(int(pollTimeout.Milliseconds())), yield); err != nil {
			return err
		}
	}
	return nil
}

// reading is one call of Read.
type reading struct {
	topic  *Topic
	ends   map[int32]int64 // of the partitions that are not finished
	heard  time.Time       // when Kafka last gave something
	reason error           // what has gone wrong since
}

func (r *reading) handle(event kafka.Event, yield func(*kafka.Message) error) error {
	switch e := event.(type) {
	case *kafka.Message:
		if e.TopicPartition.Error != nil {
			return fmt.Errorf("read %s: %w", r.topic.name, e.TopicPartition.Error)
		}
		return r.message(e, yield)
	case kafka.PartitionEOF:
		r.heard, r.reason = time.Now(), nil
		r.reached(e.Partition, int64(e.Offset))
	case kafka.Error:
		if kafkaclient.IsFatal(e) {
			return fmt.Errorf("read %s: %w", r.topic.name, e)
		}
		r.reason = e
	}
	if time.Since(r.heard) > silence {
		return fmt.Errorf("kafka at %s has given nothing more of %s for %s: %w", r.topic.brokers, r.topic.name, silence, r.why())
	}
	return nil
}

func (r *reading) message(m *kafka.Message, yield func(*kafka.Message) error) error {
	partition, offset := m.TopicPartition.Partition, int64(m.TopicPartition.Offset)
	if end, open := r.ends[partition]; open && offset < end {
		if err := yield(m); err != nil {
			return err
		}
	}
	r.reached(partition, offset+1)
	r.heard, r.reason = time.Now(), nil // not before: yield may have taken long
	return nil
}

// reached notes that everything of the partition before offset has been read.
func (r *reading) reached(partition int32, offset int64) {
	end, open := r.ends[partition]
	if !open || offset < end {
		return
	}
	delete(r.ends, partition)
	done := []kafka.TopicPartition{{Topic: &r.topic.name, Partition: partition}}
	_ = r.topic.consumer.IncrementalUnassign(done) // spares fetching what is thrown away
}

func (r *reading) why() error {
	if r.reason == nil {
		return context.DeadlineExceeded
	}
	return r.reason
}
