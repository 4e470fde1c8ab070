package main

import (
	"context"
	"errors"
	"fmt"
	"math/big"

	"fault-tolerant-tracing/services/internal/consume"
	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/kafkatrace"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/opentracing/opentracing-go"
)

// worker makes a sentence of each record.
type worker struct {
	tracer   opentracing.Tracer
	random   *randomClient
	producer *kafkaclient.Producer
	topic    string // for the sentences
}

// handle implements consume.Handler. The random number of a record is drawn once
// and kept from one try to the next.
func (w *worker) handle(ctx context.Context, r *consume.Record) error {
	number, err := parse(r.Value)
	if err != nil {
		return consume.Permanent(err)
	}
	tag(ctx, "number.value", number)
	random, drawn := r.State.(int)
	if !drawn {
		if random, err = w.random.draw(ctx); err != nil {
			return err
		}
		r.State = random
		tag(ctx, "random.number", random)
	}
	return w.write(ctx, number, fmt.Sprintf("%s + %d", number, random))
}

// parse returns the integer in a value of even-topic, in its canonical form.
func parse(value []byte) (string, error) {
	if value == nil {
		return "", errors.New("no value")
	}
	number, ok := new(big.Int).SetString(string(value), 10)
	if !ok {
		return "", fmt.Errorf("not an integer: %.100q", value)
	}
	return number.String(), nil
}

// write blocks until the sentence is acknowledged.
func (w *worker) write(ctx context.Context, number, sentence string) error {
	_, err := kafkatrace.Send(ctx, w.tracer, w.producer, &kafka.Message{
		TopicPartition: kafka.TopicPartition{Topic: &w.topic, Partition: kafka.PartitionAny},
		Key:            []byte(number),
		Value:          []byte(sentence),
	})
	if err == nil {
		return nil
	}
	err = fmt.Errorf("produce to %s: %w", w.topic, err)
	if refused := new(kafka.Error); errors.As(err, refused) && refused.Code() == kafka.ErrMsgSizeTooLarge {
		return consume.Permanent(err)
	}
	return err
}

func tag(ctx context.Context, key string, value any) {
	if span := opentracing.SpanFromContext(ctx); span != nil {
		span.SetTag(key, value)
	}
}
