package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/dustin/go-humanize/english"

	"fault-tolerant-tracing/services/internal/kafkaadmin"
	"fault-tolerant-tracing/services/internal/meter"
	"fault-tolerant-tracing/services/internal/printable"
	"fault-tolerant-tracing/services/internal/scan"
)

// back is one run of redrive for letters that go back to where they came from.
type back struct {
	*opened

	mu     sync.Mutex
	topics map[string]error // whether they are there
	sent   map[string]int   // letters, by topic
	stay   []string         // those that are chosen and cannot be sent, and why
}

// redriveBack sends the chosen letters back to where they came from.
func redriveBack(ctx context.Context, l letters, chosen choice, stdout, stderr io.Writer) (err error) {
	o, err := l.open(ctx, chosen)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.close(ctx)) }()
	b := &back{opened: o, topics: map[string]error{}, sent: map[string]int{}}
	shown := meter.New(stderr, "records", scan.Records(o.ranges))
	err = o.sweep(ctx, func(ctx context.Context, a aside) error {
		err := b.take(ctx, a)
		if err == nil {
			shown.Add(1)
		}
		return err
	})
	shown.Close()
	for _, topic := range slices.Sorted(maps.Keys(b.sent)) {
		fmt.Fprintf(stdout, "sent %s back to %s\n", english.Plural(b.sent[topic], "record", ""), topic)
	}
	for _, line := range b.stay {
		fmt.Fprintf(stderr, "stays: %s\n", printable.Line(line))
	}
	switch {
	case err != nil:
		return err
	case len(b.stay) > 0:
		return fmt.Errorf("%s on %s", english.Plural(len(b.stay), "record stays", "records stay"), l.topic)
	case len(b.sent) == 0:
		fmt.Fprintln(stdout, "there was nothing to send")
	}
	return nil
}

// take sends a letter back, or keeps it.
func (b *back) take(ctx context.Context, a aside) error {
	if !b.chosen.wants(a) {
		return b.keep(ctx, a)
	}
	err := b.send(ctx, a)
	if ctx.Err() != nil {
		return ctx.Err() // it may be sent, or not
	}
	b.mu.Lock()
	if err == nil {
		b.sent[a.Topic]++
	} else {
		b.stay = append(b.stay, fmt.Sprintf("offset %s: %v", a.place, err))
	}
	b.mu.Unlock()
	if err != nil {
		return b.keep(ctx, a)
	}
	return nil
}

// send returns why a letter cannot be sent.
func (b *back) send(ctx context.Context, a aside) error {
	switch {
	case a.CutFrom > 0:
		return errors.New(a.cut())
	case a.Topic == "":
		return errors.New("it does not say where it came from")
	}
	if err := b.isThere(ctx, a.Topic); err != nil {
		return err
	}
	_, err := b.producer.Send(ctx, &kafka.Message{
		TopicPartition: kafka.TopicPartition{Topic: &a.Topic, Partition: kafka.PartitionAny},
		Key:            a.Key, Value: a.Value, Headers: a.Headers,
	})
	return err
}

// isThere returns an error if a topic is missing: the producer would wait for it.
func (b *back) isThere(ctx context.Context, topic string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err, known := b.topics[topic]; known {
		return err
	}
	b.topics[topic] = kafkaadmin.Reach(ctx, b.cluster, topic)
	return b.topics[topic]
}
