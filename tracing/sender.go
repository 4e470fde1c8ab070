package tracing

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"fault-tolerant-tracing/tracing/kafkaclient"

	"github.com/cenkalti/backoff/v5"
	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

const (
	// windowBytes is how much is handed to the producer at a time. It copies what
	// it is given, so this is what the transport needs beside its buffer; and it is
	// four of the largest requests.
	windowBytes = 4 << 20

	firstWait   = 100 * time.Millisecond // before sending again what Kafka did not take
	longestWait = 5 * time.Second
)

// record is one batch on its way to Kafka.
type record struct {
	key     []byte
	value   []byte // nil when done
	spans   int
	done    bool // acknowledged, or given up
	suspect bool // was refused as too large together with others: to be sent alone
}

// sender keeps records in order until Kafka has acknowledged them. One goroutine
// hands them to the producer. After a delivery error it waits until nothing is in
// flight any more, and then sends everything not yet acknowledged again, oldest
// first, so that the order holds.
type sender struct {
	producer *kafkaclient.Producer
	topic    string
	log      *slog.Logger
	losses   *losses
	limit    int // bytes

	wake    chan struct{} // something changed that run may wait for
	stop    context.CancelFunc
	stopped chan struct{} // closed when run has returned

	mu            sync.Mutex
	records       []*record // oldest first; those done leave at the front
	next          int       // index of the first record not handed over since the last rewind
	bytes         int       // of all records not done
	inFlight      int
	inFlightBytes int
	alone         bool  // the one in flight is a suspect
	failure       error // the first delivery error since the last rewind
	failing       bool  // nothing was acknowledged since the last failure
	drained       chan struct{}
}

func newSender(p *kafkaclient.Producer, cfg TransportConfig, l *losses) *sender {
	ctx, stop := context.WithCancel(context.Background())
	s := &sender{
		producer: p, topic: cfg.Topic, log: cfg.Logger.With("topic", cfg.Topic), losses: l, limit: cfg.BufferBytes,
		wake: make(chan struct{}, 1), stop: stop, stopped: make(chan struct{}),
	}
	go s.run(ctx)
	return s
}

// push adds a record, unless the buffer has no room for it.
func (s *sender) push(r *record) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bytes+len(r.value) > s.limit {
		return false
	}
	s.records = append(s.records, r)
	s.bytes += len(r.value)
	s.signal()
	return true
}

func (s *sender) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
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

// take returns the next record to produce, or the failure to get over, or neither
// if there is nothing to do but wait.
func (s *sender) take() (*record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure != nil {
		if s.inFlight > 0 {
			return nil, nil
		}
		return nil, s.failure
	}
	for s.next < len(s.records) && s.records[s.next].done {
		s.next++
	}
	if s.next == len(s.records) {
		return nil, nil
	}
	r := s.records[s.next]
	if s.inFlight > 0 && (s.alone || r.suspect || s.inFlightBytes+len(r.value) > windowBytes) {
		return nil, nil
	}
	s.next++
	s.inFlight++
	s.inFlightBytes += len(r.value)
	s.alone = r.suspect
	return r, nil
}

func (s *sender) produce(r *record) {
	size := len(r.value)
	err := s.producer.Produce(&kafka.Message{
		TopicPartition: kafka.TopicPartition{Topic: &s.topic, Partition: kafka.PartitionAny},
		Key:            r.key,
		Value:          r.value,
	}, func(_ kafka.TopicPartition, err error) { s.settle(r, size, err) })
	if err != nil {
		s.settle(r, size, err)
	}
}

// settle takes note of what became of a record that was in flight.
func (s *sender) settle(r *record, size int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight--
	s.inFlightBytes -= size
	switch {
	case err == nil:
		if s.failing {
			s.failing = false
			s.log.Info("spans reach kafka again")
		}
		s.finish(r)
	case tooLarge(err) && r.suspect:
		s.losses.add(&s.losses.failed, r.spans, "kafka refuses a record as too large: "+err.Error())
		s.finish(r)
	default:
		r.suspect = r.suspect || tooLarge(err) // a broker refuses all that came in one request: find out which
		if s.failure == nil {
			s.failure = err
		}
	}
	s.signal()
}

// finish removes a record, and with it those done before it that it held up.
func (s *sender) finish(r *record) {
	s.bytes -= len(r.value)
	r.done, r.value = true, nil
	n := 0
	for n < len(s.records) && s.records[n].done {
		n++
	}
	clear(s.records[:n])
	s.records = s.records[n:]
	s.next = max(s.next-n, 0)
	s.noteDrained()
}

func (s *sender) noteDrained() {
	if s.drained != nil && len(s.records) == 0 {
		close(s.drained)
		s.drained = nil
	}
}

// hold waits and then starts again with the oldest record.
func (s *sender) hold(ctx context.Context, failure error, waits *backoff.ExponentialBackOff) {
	s.mu.Lock()
	if !s.failing {
		s.failing = true
		s.log.Warn("kafka did not take spans, sending them again", "err", failure)
		waits.Reset()
	}
	s.mu.Unlock()
	select {
	case <-time.After(waits.NextBackOff()):
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure, s.next = nil, 0
}

// shutdown waits for the records to be acknowledged or for the end of ctx, stops
// and closes the producer.
func (s *sender) shutdown(ctx context.Context) error {
	drained := make(chan struct{})
	s.mu.Lock()
	s.drained = drained
	s.noteDrained()
	s.mu.Unlock()
	select {
	case <-drained:
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

// left is the number of spans not acknowledged.
func (s *sender) left() (spans int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.records {
		if !r.done {
			spans += r.spans
		}
	}
	return spans
}

func tooLarge(err error) bool {
	var ke kafka.Error
	return errors.As(err, &ke) && (ke.Code() == kafka.ErrMsgSizeTooLarge || ke.Code() == kafka.ErrRecordListTooLarge)
}
