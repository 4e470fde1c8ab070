package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"fault-tolerant-tracing/tracing/kafkaclient"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// backlog is a topic with records that wait, all of the same number of spans,
// the client processes taking turns. Each measurement reads it from the start.
type backlog struct {
	topic  string
	size   int // spans in a record
	spans  int // in all; rounded down to whole records for each client
	encode format

	processes uint64 // of each client: see stream
}

// records returns how many there are of each client.
func (l backlog) records() int { return l.spans / l.size / clients }

// total returns how many spans there are.
func (l backlog) total() int { return l.records() * l.size * clients }

// preload makes the topic of a backlog and fills it, with the producer that
// package tracing writes its spans with.
func (b *broker) preload(ctx context.Context, l backlog) error {
	if err := b.createTopic(ctx, l.topic, partitions); err != nil {
		return err
	}
	f, err := b.newFiller(l, 50)
	if err != nil {
		return err
	}
	return errors.Join(f.fill(ctx), f.close(ctx))
}

func (b *broker) newFiller(l backlog, lingerMillis int) (*filler, error) {
	producer, err := kafkaclient.NewProducer(kafkaclient.Cluster{Brokers: []string{b.addr}}, slog.New(slog.DiscardHandler), kafka.ConfigMap{"linger.ms": lingerMillis})
	return &filler{backlog: l, producer: producer}, err
}

type filler struct {
	backlog
	producer *kafkaclient.Producer
	failed   atomic.Pointer[error] // the first record that was not taken
}

func (f *filler) fill(ctx context.Context) error {
	var streams []*stream
	for client := range clients {
		s, err := newStream(client, f.size, f.encode)
		if err != nil {
			return err
		}
		s.processes = f.processes
		streams = append(streams, s)
	}
	for range f.records() {
		for _, s := range streams {
			if err := f.produce(ctx, s); err != nil {
				return fmt.Errorf("fill %s: %w", f.topic, err)
			}
		}
	}
	return nil
}

// produce writes the next batch of a stream, and waits while the queue is full.
// Each client stays in one partition, as by its key; which one is dealt out: a
// dozen hashes would load one partition with half of the spans, a thousand would
// not.
func (f *filler) produce(ctx context.Context, s *stream) error {
	return f.put(ctx, s.client, s.next(), time.Now())
}

// put writes a record of a client.
func (f *filler) put(ctx context.Context, client int, value []byte, at time.Time) error {
	record := &kafka.Message{
		TopicPartition: kafka.TopicPartition{Topic: &f.topic, Partition: int32(client % partitions)},
		Key:            []byte(clientUUID(client)),
		Value:          value,
		Timestamp:      at,
	}
	for {
		err := f.producer.Produce(record, f.settle)
		if e := (kafka.Error{}); !errors.As(err, &e) || e.Code() != kafka.ErrQueueFull {
			return err
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *filler) settle(_ kafka.TopicPartition, err error) {
	if err != nil {
		f.failed.CompareAndSwap(nil, &err)
	}
}

// close returns an error if a record was not taken.
func (f *filler) close(ctx context.Context) error {
	if err := f.producer.Close(ctx); err != nil {
		return err
	}
	if err := f.failed.Load(); err != nil {
		return fmt.Errorf("fill %s: %w", f.topic, *err)
	}
	return nil
}
