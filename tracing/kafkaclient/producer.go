package kafkaclient

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// ErrClosed is returned for messages given to a Producer after Close, and
// reported for those that Close could not deliver in time.
var ErrClosed = errors.New("kafka producer closed")

// purgeTimeout bounds the wait for the reports of messages that were purged.
// Purging is local to the process and answers within milliseconds.
const purgeTimeout = 2 * time.Second

// queueFullWait is how long Send waits before it offers a message again to a
// producer whose queue is full.
const queueFullWait = 20 * time.Millisecond

// Producer is an idempotent Kafka producer (acks=all) that keeps a message for as
// long as Kafka is away, and that survives a fatal error of librdkafka: what was
// in flight fails with that error, and a new producer takes the old one's place.
// It does not send failed messages again; its callers do. All methods are safe
// for concurrent use.
type Producer struct {
	conf kafka.ConfigMap
	log  *slog.Logger

	mu       sync.Mutex
	current  *instance // nil: to be built by the next Produce
	fatal    error     // not nil while an instance that failed for good is being taken down
	closed   bool
	retiring sync.WaitGroup

	closeOnce sync.Once
	closeErr  error
}

// NewProducer makes a producer and returns at once, whether or not the cluster
// can be reached. Settings in extra override the defaults: idempotence, no
// message timeout, a queue of 32 MiB, 35 minutes of patience with a topic that
// does not exist, and the partitioner fnv1a_random, which places a key where goka
// expects it. A nil log means slog.Default(). It fails only if librdkafka refuses
// the configuration.
func NewProducer(c Cluster, log *slog.Logger, extra kafka.ConfigMap) (*Producer, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	conf := c.ConfigMap()
	for key, value := range (kafka.ConfigMap{
		"enable.idempotence":                true,
		"acks":                              "all",
		"message.timeout.ms":                0,         // never give up
		"topic.metadata.propagation.max.ms": 2_100_000, // librdkafka counts in µs as an int: more than 2 147 483 is no patience at all
		"queue.buffering.max.kbytes":        32 << 10,
		"partitioner":                       "fnv1a_random",
		"go.delivery.report.fields":         "none", // reports need no copy of key and value
		"go.events.channel.size":            1024,   // the default is a million, 16 MB
		"go.produce.channel.size":           1,      // not used here; the default is a million, 8 MB
	}) {
		conf[key] = value
	}
	for key, value := range extra {
		conf[key] = value
	}
	p := &Producer{conf: conf, log: orDefault(log)}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := p.instance(); err != nil {
		return nil, err
	}
	return p, nil
}

// Produce hands msg to the producer and returns without blocking. The topic must
// be set, and the partition be kafka.PartitionAny unless a certain one is meant.
// msg is copied and may be used again; its Opaque is not used.
//
// If the error is nil, done is called exactly once, with the partition and offset
// or with the reason why the message was not delivered; it is called from the
// producer's own goroutine and must not block. If it is not nil, done is never
// called. Code kafka.ErrQueueFull means that there is no room at present.
func (p *Producer) Produce(msg *kafka.Message, done func(kafka.TopicPartition, error)) error {
	p.mu.Lock()
	in, err := p.instance()
	p.mu.Unlock()
	if err != nil {
		return err
	}
	if err = in.produce(msg, done); isFatal(err) {
		p.replace(in, err)
	}
	return err
}

// Send produces msg and waits for its delivery report or for the end of ctx,
// whichever comes first; it also waits while the queue is full. After the end of
// ctx the message may still be delivered.
func (p *Producer) Send(ctx context.Context, msg *kafka.Message) (kafka.TopicPartition, error) {
	type report struct {
		tp  kafka.TopicPartition
		err error
	}
	reports := make(chan report, 1)
	for {
		err := p.Produce(msg, func(tp kafka.TopicPartition, err error) { reports <- report{tp, err} })
		if err == nil {
			break
		}
		if !hasCode(err, kafka.ErrQueueFull) {
			return msg.TopicPartition, err
		}
		select {
		case <-time.After(queueFullWait):
		case <-ctx.Done():
			return msg.TopicPartition, fmt.Errorf("kafka producer's queue is full: %w", ctx.Err())
		}
	}
	select {
	case r := <-reports:
		return r.tp, r.err
	case <-ctx.Done():
		return msg.TopicPartition, fmt.Errorf("no delivery report from kafka: %w", ctx.Err())
	}
}

// Close waits until every message has its delivery report or ctx ends, fails what
// is left with ErrClosed, and releases the producer. The error says how many
// messages were left. Further calls wait for the first and return its result.
func (p *Producer) Close(ctx context.Context) error {
	p.closeOnce.Do(func() {
		p.mu.Lock()
		p.closed = true
		in, replaced := p.current, p.fatal != nil
		p.mu.Unlock()
		if in != nil && !replaced {
			p.closeErr = in.close(ctx, ErrClosed)
		}
		p.retiring.Wait()
	})
	return p.closeErr
}

// instance returns the current instance and builds it if there is none. The
// caller holds p.mu.
func (p *Producer) instance() (*instance, error) {
	switch {
	case p.closed:
		return nil, ErrClosed
	case p.fatal != nil:
		return nil, p.fatal
	case p.current == nil:
		kp, err := kafka.NewProducer(&p.conf)
		if err != nil {
			return nil, fmt.Errorf("make kafka producer: %w", err)
		}
		p.current = newInstance(kp)
		go ForwardLogs(kp.Logs(), p.log)
		go p.current.dispatch(p.onError(p.current))
	}
	return p.current, nil
}

func (p *Producer) onError(in *instance) func(kafka.Error) {
	return func(err kafka.Error) {
		if err.IsFatal() {
			p.replace(in, err)
			return
		}
		p.log.Debug("kafka client", "err", err) // librdkafka retries, and logs what matters
	}
}

// replace takes down an instance that failed for good. Until all its messages
// have failed, nothing new is accepted: a message must not overtake the ones
// before it.
func (p *Producer) replace(in *instance, cause error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current != in || p.fatal != nil || p.closed {
		return
	}
	p.log.Error("kafka producer failed for good, replacing it", "err", cause)
	p.fatal = cause
	p.retiring.Add(1)
	go func() {
		defer p.retiring.Done()
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = in.close(ended, cause) // what is left is reported to its callers, message by message
		p.mu.Lock()
		defer p.mu.Unlock()
		p.current, p.fatal = nil, nil
	}()
}

func isFatal(err error) bool {
	var ke kafka.Error
	return errors.As(err, &ke) && (ke.IsFatal() || ke.Code() == kafka.ErrFatal)
}

func hasCode(err error, code kafka.ErrorCode) bool {
	var ke kafka.Error
	return errors.As(err, &ke) && ke.Code() == code
}
