package tracing

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

const (
	firstWait   = 100 * time.Millisecond // before sending again what Kafka did not take
	longestWait = 5 * time.Second
)

// producer is what a sender needs of *kafkaclient.Producer.
type producer interface {
	Produce(*kafka.Message, func(kafka.TopicPartition, error)) error
	Close(context.Context) error
}

// sender hands the records of its outbox to the producer, in one goroutine. After
// a delivery error it waits until nothing is in flight any more, and then sends
// everything not yet acknowledged again, oldest first, so that the order holds.
type sender struct {
	*outbox
	producer producer
	topic    string

	hurry   chan struct{} // closed when shutdown begins
	stop    context.CancelFunc
	stopped chan struct{} // closed when run has returned
}

func newSender(p producer, cfg TransportConfig, l *losses) *sender {
	ctx, stop := context.WithCancel(context.Background())
	s := &sender{
		outbox: newOutbox(cfg.BufferBytes, cfg.Logger.With("topic", cfg.Topic), l), producer: p, topic: cfg.Topic,
		hurry: make(chan struct{}), stop: stop, stopped: make(chan struct{}),
	}
	go s.run(ctx)
	return s
}

func (s *sender) run(ctx context.Context) {
	defer close(s.stopped)
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval, waits.MaxInterval = firstWait, longestWait
	for ctx.Err() == nil {
		r, failure := s.take()
		switch {
		case r != nil:
			s.produce(r)
		case failure != nil:
			s.hold(ctx, failure, waits)
		default:
			select {
			case <-s.wake:
			case <-ctx.Done():
			}
		}
	}
}

func (s *sender) produce(r *record) {
	err := s.producer.Produce(&kafka.Message{
		TopicPartition: kafka.TopicPartition{Topic: &s.topic, Partition: kafka.PartitionAny},
		Key:            r.key,
		Value:          r.value,
	}, func(_ kafka.TopicPartition, err error) { s.settle(r, err) })
	if err != nil {
		s.settle(r, err)
	}
}

// hold waits, only for a moment if there is not much time left, and then starts
// again with the oldest record.
func (s *sender) hold(ctx context.Context, failure error, waits *backoff.ExponentialBackOff) {
	if s.startFailing(failure) {
		waits.Reset()
	}
	select {
	case <-time.After(waits.NextBackOff()):
	case <-s.hurry:
		select {
		case <-time.After(firstWait):
		case <-ctx.Done():
		}
	}
	s.rewind()
}

// shutdown waits for the records to be acknowledged or for the end of ctx, stops
// and closes the producer. It is called once.
func (s *sender) shutdown(ctx context.Context) error {
	close(s.hurry)
	select {
	case <-s.whenEmpty():
	case <-ctx.Done():
	}
	s.stop()
	<-s.stopped
	err := s.producer.Close(ctx)
	if left := s.left(); left > 0 {
		return &LeftBehindError{Spans: left, Err: context.Cause(ctx)}
	}
	return err
}
