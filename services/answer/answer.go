package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"regexp"

	"fault-tolerant-tracing/services/internal/consume"
	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/kafkatrace"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/opentracing/opentracing-go"
)

// answer is the value of a record of answer-topic. Its numbers are exact,
// however large.
type answer struct {
	Number           *big.Int `json:"number"`
	Random           *big.Int `json:"random"`
	Sentence         string   `json:"sentence"`
	CompleteSentence string   `json:"completeSentence"`
	Answer           *big.Int `json:"answer"`
}

// sentence is what the service of that name writes: an integer in its canonical
// form and a number from 0 to 9.
var sentence = regexp.MustCompile(`^(0|-?[1-9][0-9]*) \+ ([0-9])$`)

// solve works out what a value of sentence-topic says.
func solve(value []byte) (answer, error) {
	parts := sentence.FindSubmatch(value)
	if parts == nil {
		return answer{}, fmt.Errorf("not a sentence such as \"6 + 1\": %.100q", value)
	}
	a := answer{Sentence: string(value), Number: new(big.Int), Random: new(big.Int), Answer: new(big.Int)}
	a.Number.SetString(string(parts[1]), 10)
	a.Random.SetString(string(parts[2]), 10)
	a.Answer.Add(a.Number, a.Random)
	a.CompleteSentence = fmt.Sprintf("%s = %d", a.Sentence, a.Answer)
	return a, nil
}

// worker makes an answer of each record.
type worker struct {
	tracer   opentracing.Tracer
	producer *kafkaclient.Producer
	topic    string // for the answers
}

// handle implements consume.Handler.
func (w *worker) handle(ctx context.Context, r *consume.Record) error {
	a, err := solve(r.Value)
	if err != nil {
		return consume.Permanent(err)
	}
	if span := opentracing.SpanFromContext(ctx); span != nil {
		span.SetTag("number.value", a.Number.String())
		span.SetTag("random.number", a.Random.Int64())
	}
	value, err := json.Marshal(a)
	if err != nil {
		return consume.Permanent(err)
	}
	return w.write(ctx, a.Number.String(), value)
}

// write blocks until the answer is acknowledged.
func (w *worker) write(ctx context.Context, number string, value []byte) error {
	_, err := kafkatrace.Send(ctx, w.tracer, w.producer, &kafka.Message{
		TopicPartition: kafka.TopicPartition{Topic: &w.topic, Partition: kafka.PartitionAny},
		Key:            []byte(number),
		Value:          value,
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
