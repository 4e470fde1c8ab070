package kafkaclient

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// instance is one librdkafka producer and the messages it still owes a report.
type instance struct {
	kp          *kafka.Producer
	credentials *Credentials  // those of kp; for dispatch only
	dispatched  chan struct{} // closed when dispatch has returned
	closing     chan struct{} // closed when close has begun
	watched     chan struct{} // closed when watch has returned
	failed      atomic.Bool   // for good, maybe before it was used

	mu      sync.Mutex // also held while producing, so that none does on a closed kp
	pending map[*delivery]struct{}
	taken   uint64        // messages so far
	reason  error         // why it takes no more messages; nil: it does
	idle    chan struct{} // closed when nothing more is taken and nothing is pending
}

type delivery struct {
	done   func(kafka.TopicPartition, error)
	topic  string
	number uint64 // in the order in which they were taken
}

const (
	watchInterval = 5 * time.Second // between two looks at what is on its way
	watchTimeout  = time.Second     // for Kafka's answer then, which close may have to wait for

	// stallAfter is how long a message may be on its way while Kafka could take it.
	stallAfter = 30 * time.Second
)

func newInstance(kp *kafka.Producer, credentials *Credentials) *instance {
	return &instance{
		kp:          kp,
		credentials: credentials,
		dispatched:  make(chan struct{}),
		closing:     make(chan struct{}),
		watched:     make(chan struct{}),
		pending:     make(map[*delivery]struct{}),
		idle:        make(chan struct{}),
	}
}

func (in *instance) produce(msg *kafka.Message, done func(kafka.TopicPartition, error)) error {
	d := &delivery{done: done, topic: *msg.TopicPartition.Topic}
	m := *msg
	m.Opaque = d
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.reason != nil {
		return in.reason
	}
	if err := in.kp.Produce(&m, nil); err != nil {
		return err
	}
	in.taken++
	d.number = in.taken
	in.pending[d] = struct{}{}
	return nil
}

// dispatch hands out delivery reports and errors until kp is closed, and keeps its
// credentials fresh. It calls onStale, again and again, when kp must be replaced
// for that. Neither may block.
func (in *instance) dispatch(onError func(kafka.Error), onStale func()) {
	defer close(in.dispatched)
	tick := time.NewTicker(in.credentials.interval)
	defer tick.Stop()
	for {
		select {
		case event, open := <-in.kp.Events():
			switch e := event.(type) {
			case *kafka.Message:
				in.finish(e.Opaque.(*delivery), e.TopicPartition, e.TopicPartition.Error)
			case kafka.Error:
				onError(e)
			}
			if !open {
				return
			}
		case <-tick.C:
			if in.stale() {
				onStale()
			}
		}
	}
}

func (in *instance) stale() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.reason == nil && in.credentials.Refresh(in.kp)
}

func (in *instance) finish(d *delivery, tp kafka.TopicPartition, err error) {
	in.mu.Lock()
	if in.reason != nil && (hasCode(err, kafka.ErrPurgeQueue) || hasCode(err, kafka.ErrPurgeInflight)) {
		err = in.reason
	}
	in.mu.Unlock()
	d.done(tp, err)
	in.mu.Lock()
	defer in.mu.Unlock()
	delete(in.pending, d)
	in.signalIdle()
}

func (in *instance) signalIdle() {
	if in.reason != nil && len(in.pending) == 0 {
		close(in.idle)
	}
}

// watch calls onStall, again and again, while a message has been on its way for longer than
// stallAfter, in which Kafka answered each time that its topic has all its leaders.
// librdkafka does not find to a topic that was made anew and has its first leaders again
// (confluentinc/librdkafka#4898). It returns when close has begun.
func (in *instance) watch(onStall func(topic string)) {
	defer close(in.watched)
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	var suspect *delivery
	var since time.Time
	for {
		select {
		case <-tick.C:
		case <-in.closing:
			return
		}
		switch oldest := in.oldest(); {
		case oldest == nil || !in.hasLeaders(oldest.topic):
			suspect = nil
		case oldest != suspect:
			suspect, since = oldest, time.Now()
		case time.Since(since) >= stallAfter:
			onStall(oldest.topic)
		}
	}
}

func (in *instance) oldest() (oldest *delivery) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for d := range in.pending {
		if oldest == nil || d.number < oldest.number {
			oldest = d
		}
	}
	return oldest
}

func (in *instance) hasLeaders(topic string) bool {
	metadata, err := in.kp.GetMetadata(&topic, false, int(watchTimeout.Milliseconds()))
	if err != nil {
		return false
	}
	partitions := metadata.Topics[topic].Partitions
	return len(partitions) > 0 && !slices.ContainsFunc(partitions, func(p kafka.PartitionMetadata) bool { return p.Leader < 0 })
}

// close waits for the outstanding reports or the end of ctx, fails what is left
// with reason, and releases kp. It is called once.
func (in *instance) close(ctx context.Context, reason error) error {
	close(in.closing)
	in.mu.Lock()
	in.reason = reason
	in.signalIdle()
	in.mu.Unlock()

	var err error
	select {
	case <-in.idle:
	case <-ctx.Done():
		err = in.purge(ctx)
	}
	<-in.watched
	in.kp.Close()
	<-in.dispatched
	for _, d := range in.leftovers() {
		in.finish(d, kafka.TopicPartition{}, reason)
	}
	return err
}

// drop releases an instance that was never used.
func (in *instance) drop() {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_ = in.close(ended, ErrClosed)
}

// purge makes librdkafka report every message it still has as failed.
func (in *instance) purge(ctx context.Context) error {
	left := len(in.leftovers())
	_ = in.kp.Purge(kafka.PurgeQueue | kafka.PurgeInFlight) // fails only on a closed client
	purged, cancel := context.WithTimeout(context.WithoutCancel(ctx), purgeTimeout)
	defer cancel()
	select {
	case <-in.idle:
	case <-purged.Done():
	}
	if left == 0 {
		return nil
	}
	return fmt.Errorf("close kafka producer: %d messages not delivered: %w", left, ctx.Err())
}

func (in *instance) leftovers() []*delivery {
	in.mu.Lock()
	defer in.mu.Unlock()
	left := make([]*delivery, 0, len(in.pending))
	for d := range in.pending {
		left = append(left, d)
	}
	return left
}
