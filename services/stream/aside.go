package main

import (
	"errors"
	"log/slog"

	"fault-tolerant-tracing/services/internal/deadletter"
	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/kafkatrace"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/lovoo/goka"
	"github.com/opentracing/opentracing-go"
	"golang.org/x/sync/semaphore"
)

const (
	// maxAside is how many records are on their way to the dead-letter topic at
	// once: of deadletter.MaxBytes each, they fit into the producer's 32 MiB.
	maxAside = 15

	// maxCut is how many bytes of a value are kept if the topic does not take all
	// of it: any topic with the default limit of 1 MB takes that.
	maxCut = 500_000
)

// newDeadLetterProducer makes a producer of dead letters. It has its own beside
// goka's, whose limit for one record bounds its batches for the other topics too.
func newDeadLetterProducer(cluster kafkaclient.Cluster, log *slog.Logger) (*kafkaclient.Producer, error) {
	cluster.ClientID = group
	return kafkaclient.NewProducer(cluster, log, kafka.ConfigMap{
		"message.max.bytes":  deadletter.MaxBytes,
		"batch.num.messages": 1, // a broker refuses a whole batch for one record that is too large
	})
}

// deadLetters sets records aside. It is safe for several goroutines.
type deadLetters struct {
	tracer   opentracing.Tracer
	producer *kafkaclient.Producer
	topic    string
	room     *semaphore.Weighted // maxAside
	log      *slog.Logger
}

// setAside passes the record on as it is, but for what goka does not show: a
// null key becomes an empty one, and of several headers of one name the last is
// kept. goka commits it only when it is acknowledged, counted is called then; if
// it is refused, the processor fails. What is too large for the topic is cut. It
// blocks while too many are on their way.
func (d *deadLetters) setAside(ctx goka.Context, value []byte, reason error, counted func()) {
	from := opentracing.SpanFromContext(ctx.Context())
	kafkatrace.SetError(from, reason)
	done := ctx.DeferCommit()
	if err := d.room.Acquire(ctx.Context(), 1); err != nil {
		done(err)
		return
	}
	log := d.log.With("topic", string(ctx.Topic()), "partition", ctx.Partition(), "offset", ctx.Offset(), "err", reason)
	finish := func(err error) {
		d.room.Release(1)
		if err == nil {
			log.Warn("record set aside")
			counted()
		}
		done(err)
	}
	place := goka.Headers(deadletter.Headers(string(ctx.Topic()), ctx.Partition(), ctx.Offset(), reason))
	key := ctx.Key()
	d.send(from, d.message(key, value, ctx.Headers().Merged(place)), func(err error) {
		if !tooLarge(err) {
			finish(err)
			return
		}
		// It must not block what is behind it; the whole of it is where the headers say.
		log.Warn("record is cut, the dead-letter topic does not take all of it", "bytes", len(value), "refusal", err)
		place["dlq.truncated"] = []byte("true")
		d.send(from, d.message(key[:min(len(key), maxKey)], value[:min(len(value), maxCut)], place), finish)
	})
}

func (d *deadLetters) message(key string, value []byte, headers goka.Headers) *kafka.Message {
	msg := &kafka.Message{
		TopicPartition: kafka.TopicPartition{Topic: &d.topic, Partition: kafka.PartitionAny},
		Key:            []byte(key),
		Value:          value,
	}
	for k, v := range headers {
		msg.Headers = append(msg.Headers, kafka.Header{Key: k, Value: v})
	}
	return msg
}

// send calls done with the delivery's result, from another goroutine or at once.
func (d *deadLetters) send(from opentracing.Span, msg *kafka.Message, done func(error)) {
	span := kafkatrace.StartProduceSpan(d.tracer, from.Context(), msg)
	report := func(tp kafka.TopicPartition, err error) {
		kafkatrace.FinishProduceSpan(span, tp, err)
		done(err)
	}
	if err := d.producer.Produce(msg, report); err != nil {
		report(msg.TopicPartition, err)
	}
}

func tooLarge(err error) bool {
	var refused kafka.Error
	return errors.As(err, &refused) && refused.Code() == kafka.ErrMsgSizeTooLarge
}
