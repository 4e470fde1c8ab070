package kafkaclient

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
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

// drainTimeout bounds the wait for what a producer owes that is replaced for its
// TLS files. If the broker is there it takes milliseconds, and if it is not, which
// may be because of those files, no wait would do.
const drainTimeout = 2 * time.Second

// queueFullWait is how long Enqueue waits before it offers a message again to a
// producer whose queue is full.
const queueFullWait = 20 * time.Millisecond

// Producer is an idempotent Kafka producer (acks=all) that keeps a message for as
// long as Kafka is away, and that survives [IsFatal] errors of librdkafka: what was
// in flight fails with that error, and a new producer takes the old one's place.
// The same happens when it has not sent a message for half a minute in which Kafka
// could have taken it, and, once all is delivered that can be, when the TLS files of
// its cluster have changed; a password that has changed in its file is used from the
// next connection on. It does not send failed messages again; its callers do. All
// methods are safe for concurrent use.
//
// It has one request under way to a broker at a time. With more, a broker that is just
// getting a partition may refuse one and take the next one (KAFKA-15591), from which
// librdkafka concludes that the first one was taken, too.
type Producer struct {
	cluster Cluster
	conf    kafka.ConfigMap // added to that of the cluster
	log     *slog.Logger

	mu       sync.Mutex
	current  *instance // nil: to be built by the next Produce
	leaving  bool      // the current instance is being taken down, and says why
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
// the configuration or cannot start its own thread, for want of memory.
func NewProducer(c Cluster, log *slog.Logger, extra kafka.ConfigMap) (*Producer, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	conf := kafka.ConfigMap{
		"enable.idempotence":                true,
		"acks":                              "all",
		"max.in.flight":                     1,         // of requests to a broker
		"message.timeout.ms":                0,         // never give up
		"topic.metadata.propagation.max.ms": 2_100_000, // librdkafka counts in µs as an int: more than 2 147 483 is no patience at all
		"queue.buffering.max.kbytes":        32 << 10,
		"partitioner":                       "fnv1a_random",
		"go.delivery.report.fields":         "none", // reports need no copy of key and value
		"go.events.channel.size":            1024,   // the default is a million, 16 MB
		"go.produce.channel.size":           1,      // not used here; the default is a million, 8 MB
	}
	maps.Copy(conf, extra)
	p := &Producer{cluster: c, conf: conf, log: orDefault(log)}
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
	if err = in.produce(msg, done); IsFatal(err) {
		p.fail(in, err)
	}
	return err
}

// Enqueue is [Producer.Produce], but waits while the queue is full, until ctx ends.
func (p *Producer) Enqueue(ctx context.Context, msg *kafka.Message, done func(kafka.TopicPartition, error)) error {
	for {
		err := p.Produce(msg, done)
		if !hasCode(err, kafka.ErrQueueFull) {
			return err
		}
		select {
		case <-time.After(queueFullWait):
		case <-ctx.Done():
			return fmt.Errorf("kafka producer's queue is full: %w", ctx.Err())
		}
	}
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
	err := p.Enqueue(ctx, msg, func(tp kafka.TopicPartition, err error) { reports <- report{tp, err} })
	if err != nil {
		return msg.TopicPartition, err
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
		in, replaced := p.current, p.leaving
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
	case p.current == nil:
		next, err := p.build()
		if err != nil {
			return nil, err
		}
		p.current = next
	}
	return p.current, nil
}

func (p *Producer) build() (*instance, error) {
	credentials := p.cluster.Credentials(p.log)
	conf := p.cluster.ConfigMap()
	maps.Copy(conf, p.conf)
	kp, err := kafka.NewProducer(&conf)
	if err != nil {
		return nil, fmt.Errorf("make kafka producer: %w", err)
	}
	in := newInstance(kp, credentials)
	go ForwardLogs(kp.Logs(), p.log)
	go in.dispatch(func(err kafka.Error) {
		if IsFatal(err) {
			in.failed.Store(true)
			p.fail(in, err)
			return
		}
		p.log.Debug("kafka client", "err", err) // librdkafka retries, and logs what matters
	}, func() { p.renew(in) })
	go in.watch(func(topic string) { p.stalled(in, topic) })
	return in, nil
}

// fail takes down an instance that failed for good; the next message makes another.
func (p *Producer) fail(in *instance, cause error) {
	if p.replace(in, nil, cause, 0) {
		p.log.Error("kafka producer failed for good, replacing it", "err", cause)
	}
}

// stalled takes down an instance that does not send what Kafka would take; the next message makes another.
func (p *Producer) stalled(in *instance, topic string) {
	cause := kafka.NewError(kafka.ErrQueueFull, "kafka producer is being replaced, as it sends nothing", false)
	if p.replace(in, nil, cause, 0) {
		p.log.Warn("kafka could take records, and its client does not send them, replacing the client", "topic", topic)
	}
}

// renew replaces an instance whose TLS files have changed, unless none can be made
// with them.
func (p *Producer) renew(in *instance) {
	next, err := p.build()
	if err != nil {
		p.log.Warn("kafka producer keeps its TLS files from before, the new ones cannot be used", "err", err)
		return
	}
	cause := kafka.NewError(kafka.ErrQueueFull, "kafka producer is being replaced, as its TLS files have changed", false)
	if p.replace(in, next, cause, drainTimeout) {
		p.log.Info("TLS files have changed, replacing the kafka producer")
	} else {
		next.drop()
	}
}

// replace takes down an instance, with what it cannot deliver within drain failing
// for that cause, and puts next in its place, which may be nil. Until then nothing
// new is accepted: a message must not overtake the ones before it. It does not
// wait. It returns false if that instance is being replaced already, or closed.
func (p *Producer) replace(in, next *instance, cause error, drain time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current != in || p.leaving || p.closed {
		return false
	}
	p.leaving = true
	p.retiring.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), drain)
		defer cancel()
		_ = in.close(ctx, cause) // what is left is reported to its callers, message by message
		p.mu.Lock()
		if next != nil && (p.closed || next.failed.Load()) {
			defer next.drop()
			next = nil
		}
		p.current, p.leaving = next, false
		p.mu.Unlock()
	})
	return true
}

// IsFatal tells whether an error of a client of librdkafka means that it has failed for good
// and must be replaced: librdkafka says so, or could not start the thread that would speak
// with a broker, for want of memory, which it may never try again.
func IsFatal(err error) bool {
	var ke kafka.Error
	return errors.As(err, &ke) && (ke.IsFatal() || ke.Code() == kafka.ErrFatal || ke.Code() == kafka.ErrCritSysResource)
}

func hasCode(err error, code kafka.ErrorCode) bool {
	var ke kafka.Error
	return errors.As(err, &ke) && ke.Code() == code
}
