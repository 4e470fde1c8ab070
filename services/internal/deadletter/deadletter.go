// Package deadletter keeps records that can never be handled on a topic of
// their own, with the reason and the place they came from in the headers.
//
// A record is set aside when the broker has acknowledged its letter; until then
// the caller must not commit its offset. Setting a record aside twice, after a
// crash, gives two copies. What is too large for the topic is cut, never refused:
// the headers say so, and where the whole record is.
package deadletter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/opentracing/opentracing-go"
	"golang.org/x/sync/semaphore"

	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/kafkatrace"
)

// MaxBytes is what a dead-letter topic and its producers must take: more than
// the 1 048 588 bytes of any record of another topic, so that every one of them
// can be set aside whole, with its headers. It bounds the record batch, of one
// record, that is sent to the broker.
const MaxBytes = 2 << 20

// batchBytes is the size of a batch of several letters at most. It is far below
// what topics take, for a broker refuses a whole batch and does not say which
// record is too large.
const batchBytes = 64 << 10

// everyone is what a letter takes of Queue.room that is to be alone in its batch.
const everyone = 1 << 30

// NewProducer makes a producer for the letters of one or more queues. The caller
// closes it.
func NewProducer(cluster kafkaclient.Cluster, log *slog.Logger) (*kafkaclient.Producer, error) {
	return kafkaclient.NewProducer(cluster, log, kafka.ConfigMap{
		"message.max.bytes": MaxBytes,
		"batch.size":        batchBytes,
		"linger.ms":         0,  // while others are on their way there is time enough to fill a batch
		"retry.backoff.ms":  10, // with each refusal, those sent behind it are sent again
	})
}

// Queue writes letters to one topic. It is safe for several goroutines.
type Queue struct {
	producer *kafkaclient.Producer
	topic    string
	room     *semaphore.Weighted // everyone

	refusal atomic.Pointer[refusal] // the smallest of late; nil: none
	cut     atomic.Uint64
}

// refusal is what is known of a topic that does not take MaxBytes.
type refusal struct {
	size int // was too large
	next int // is tried instead
}

// forgetAfter is how long a refusal counts: the topic's limit may be raised.
const forgetAfter = time.Minute

// New makes a queue that writes to topic with a producer of [NewProducer], which
// stays the caller's.
func New(producer *kafkaclient.Producer, topic string) *Queue {
	return &Queue{producer: producer, topic: topic, room: semaphore.NewWeighted(everyone)}
}

// Write produces the letter and blocks until the broker has acknowledged or
// refused it, or ctx ends; then it may still be delivered. There is no other
// limit: while Kafka is away, or the topic is missing (35 minutes at most), it waits,
// and the letter is delivered once. A letter that is too large, for [MaxBytes] or
// for the topic, is cut until it fits. If there is a span in ctx, its child
// To_<topic> traces the delivery; more may set tags of it.
func (q *Queue) Write(ctx context.Context, l Letter, more ...opentracing.StartSpanOption) (err error) {
	at := kafka.TopicPartition{Topic: &q.topic, Partition: kafka.PartitionAny}
	msg := &kafka.Message{TopicPartition: at, Key: l.Key, Value: l.Value, Headers: l.own()}
	if parent := opentracing.SpanFromContext(ctx); parent != nil {
		span := kafkatrace.StartProduceSpan(parent.Tracer(), parent.Context(), msg, more...)
		defer func() { kafkatrace.FinishProduceSpan(span, at, err) }()
	}
	whole := newDraft(l, msg.Headers)
	least := whole.within(0).size()
	limit, alone := min(whole.size(), MaxBytes), false
	for {
		if known := q.refusal.Load(); known != nil {
			alone = alone || known.size <= batchBytes
			if limit >= known.size {
				limit = known.next
			}
		}
		d := whole.within(limit)
		d.fill(msg)
		at, err = q.send(ctx, msg, alone)
		switch {
		case err == nil:
			if d.cut {
				q.cut.Add(1)
			}
			return nil
		case tooLarge(err) && !alone && d.size() <= batchBytes:
			alone = true // its batch may have been too large, not itself
			continue
		case !tooLarge(err) || limit <= least:
			return fmt.Errorf("produce to %s: %w", q.topic, err)
		}
		next := least + (limit-least)/2
		q.learn(limit, next)
		limit = next
	}
}

// send produces one message. Nothing is on its way beside one that is to be alone.
func (q *Queue) send(ctx context.Context, msg *kafka.Message, alone bool) (kafka.TopicPartition, error) {
	share := int64(1)
	if alone {
		share = everyone
	}
	if err := q.room.Acquire(ctx, share); err != nil {
		return msg.TopicPartition, err
	}
	defer q.room.Release(share)
	return q.producer.Send(ctx, msg)
}

// learn spares other letters a refusal: each holds up those sent behind it.
func (q *Queue) learn(size, next int) {
	known := q.refusal.Load()
	if known != nil && known.size <= size {
		return
	}
	learnt := &refusal{size, next}
	if q.refusal.CompareAndSwap(known, learnt) {
		time.AfterFunc(forgetAfter, func() { q.refusal.CompareAndSwap(learnt, nil) })
	}
}

// Cut is how many letters were written that are not whole.
func (q *Queue) Cut() uint64 { return q.cut.Load() }

func tooLarge(err error) bool {
	var refused kafka.Error
	return errors.As(err, &refused) && refused.Code() == kafka.ErrMsgSizeTooLarge
}
