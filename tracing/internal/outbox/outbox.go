// Package outbox keeps records with spans in memory, in order, until Kafka has
// acknowledged them, and sends them again for as long as that takes: while the
// brokers are away, while the topic is missing, after the producer failed for good.
// A record that the topic does not admit is halved until it does. When the buffer
// is full, the newest record is not taken.
//
// What a record holds is its callers' business: they make it, number it, and count
// what was not taken, in a Tally.
package outbox

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"fault-tolerant-tracing/tracing/kafkaclient"

	"github.com/cenkalti/backoff/v5"
	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// Defaults of Config.
const (
	DefaultTopic       = "tracing-topic"
	DefaultBufferBytes = 32 << 20
)

// MaxRecordBytes is the largest value of a record: a broker takes 1 048 588 by
// default, librdkafka 1 000 000; the rest is for key, headers and framing.
const MaxRecordBytes = 900_000

const (
	firstWait   = 100 * time.Millisecond // before sending again what Kafka did not take
	longestWait = 5 * time.Second

	// lingerMillis is how long librdkafka waits for more records to share a request
	// with. There is seldom more than one, as a flush makes one record; a process
	// that writes many makes them faster than this.
	lingerMillis = 5
)

// Config configures an Outbox. Kafka.Brokers is required; every other zero value
// means its default.
type Config struct {
	Kafka       kafkaclient.Cluster
	Topic       string       // default DefaultTopic
	BufferBytes int          // default DefaultBufferBytes; at least MaxRecordBytes
	Logger      *slog.Logger // default slog.Default()
}

// Split makes two values of one: with its first n spans, and with the others. Both
// say of the rest what the whole one says.
type Split func(value []byte, n int) (first, second []byte, err error)

// producer is what an outbox needs of *kafkaclient.Producer.
type producer interface {
	Produce(*kafka.Message, func(kafka.TopicPartition, error)) error
	Close(context.Context) error
}

// Outbox hands its records to the producer, in one goroutine. After a delivery
// error it waits until nothing is in flight any more, and then sends everything not
// yet acknowledged again, oldest first, so that the order holds.
type Outbox struct {
	Tally *Tally // of the records that could not be kept; its callers count in it as well
	*queue
	producer producer
	topic    string

	hurry   chan struct{} // closed when shutdown begins
	stop    context.CancelFunc
	stopped chan struct{} // closed when run has returned
}

// New makes an outbox and returns at once, whether or not Kafka can be reached.
// extra are further settings of the producer.
func New(cfg Config, split Split, extra kafka.ConfigMap) (*Outbox, error) {
	if cfg.Topic == "" {
		cfg.Topic = DefaultTopic
	}
	if cfg.BufferBytes == 0 {
		cfg.BufferBytes = DefaultBufferBytes
	}
	if cfg.BufferBytes < MaxRecordBytes {
		return nil, fmt.Errorf("a buffer of %d bytes does not hold one record of %d", cfg.BufferBytes, MaxRecordBytes)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	settings := kafka.ConfigMap{"linger.ms": lingerMillis}
	maps.Copy(settings, extra)
	p, err := kafkaclient.NewProducer(cfg.Kafka, cfg.Logger, settings)
	if err != nil {
		return nil, err
	}
	return start(p, cfg, split), nil
}

func start(p producer, cfg Config, split Split) *Outbox {
	ctx, stop := context.WithCancel(context.Background())
	tally := NewTally(cfg.Logger)
	o := &Outbox{
		Tally: tally,
		queue: &queue{
			limit: cfg.BufferBytes, split: split, log: cfg.Logger.With("topic", cfg.Topic), tally: tally, wake: make(chan struct{}, 1),
		},
		producer: p, topic: cfg.Topic,
		hurry: make(chan struct{}), stop: stop, stopped: make(chan struct{}),
	}
	go o.run(ctx)
	return o
}

func (o *Outbox) run(ctx context.Context) {
	defer close(o.stopped)
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval, waits.MaxInterval = firstWait, longestWait
	for ctx.Err() == nil {
		r, failure := o.take()
		switch {
		case r != nil:
			o.produce(r)
		case failure != nil:
			o.hold(ctx, failure, waits)
		default:
			select {
			case <-o.wake:
			case <-ctx.Done():
			}
		}
	}
}

func (o *Outbox) produce(r *Record) {
	err := o.producer.Produce(&kafka.Message{
		TopicPartition: kafka.TopicPartition{Topic: &o.topic, Partition: kafka.PartitionAny},
		Key:            r.Key,
		Value:          r.Value,
		Headers:        r.Headers,
	}, func(_ kafka.TopicPartition, err error) { o.settle(r, err) })
	if err != nil {
		o.settle(r, err)
	}
}

// hold waits, only for a moment if there is not much time left, and then starts
// again with the oldest record.
func (o *Outbox) hold(ctx context.Context, failure error, waits *backoff.ExponentialBackOff) {
	if o.startFailing(failure) {
		waits.Reset()
	}
	select {
	case <-time.After(waits.NextBackOff()):
	case <-o.hurry:
		select {
		case <-time.After(firstWait):
		case <-ctx.Done():
		}
	}
	o.rewind()
}

// Shutdown waits for the records to be acknowledged or for the end of ctx, stops
// and closes the producer, and ends the Tally's burst. If spans were left, the error
// is a *LeftBehindError. It is called once; a record that is pushed later stays.
func (o *Outbox) Shutdown(ctx context.Context) error {
	close(o.hurry)
	select {
	case <-o.whenEmpty():
	case <-ctx.Done():
	}
	o.stop()
	<-o.stopped
	err := o.producer.Close(ctx)
	o.Tally.Finish()
	if left := o.Left(); left > 0 {
		return &LeftBehindError{Spans: left, Err: context.Cause(ctx)}
	}
	return err
}

// LeftBehindError says that there was no time to send all spans.
type LeftBehindError struct {
	Spans int   // not acknowledged; some of them may have arrived
	Err   error // why there was no more time
}

func (e *LeftBehindError) Error() string {
	return fmt.Sprintf("%d span(s) left behind: %v", e.Spans, e.Err)
}

// Unwrap returns Err.
func (e *LeftBehindError) Unwrap() error { return e.Err }
