package consume

import (
	"context"
	"fmt"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"fault-tolerant-tracing/tracing/kafkaclient"
)

const (
	// maxGap is how many records are passed over rather than asked for anew.
	maxGap = 50
	// readTimeout is how long the reader waits for a record.
	readTimeout = 30 * time.Second
	readBytes   = 256 << 10 // fetched at a time
)

// reader reads single records of the topic again, with a client of its own that joins
// no group. The client is made when it is first needed. It is for one goroutine.
type reader struct {
	cfg    Config
	client *kafka.Consumer
	login  *kafkaclient.Credentials
}

// fetch implements Fetch of [dispatch.Config].
func (r *reader) fetch(ctx context.Context, partition int32, offsets []int64) (map[int64]*kafka.Message, error) {
	if err := r.open(); err != nil {
		return nil, err
	}
	messages := make(map[int64]*kafka.Message, len(offsets))
	for len(offsets) > 0 {
		n := 1
		for n < len(offsets) && offsets[n]-offsets[n-1] <= maxGap {
			n++
		}
		if err := r.run(ctx, partition, offsets[:n], messages); err != nil {
			if ctx.Err() == nil {
				r.abandon()
			}
			return nil, fmt.Errorf("read %s, partition %d, from offset %d again: %w", r.cfg.Topic, partition, offsets[0], err)
		}
		offsets = offsets[n:]
	}
	return messages, nil
}

func (r *reader) open() (err error) {
	if r.client != nil && r.login.Refresh(r.client) {
		r.close()
	}
	if r.client != nil {
		return nil
	}
	r.login = r.cfg.Cluster.Credentials(r.cfg.Log)
	settings := r.cfg.Cluster.ConfigMap()
	for key, value := range map[string]kafka.ConfigValue{
		"group.id":                   r.cfg.Group, // which is not joined
		"enable.auto.commit":         false,
		"enable.auto.offset.store":   false,
		"enable.partition.eof":       true,
		"auto.offset.reset":          "earliest",
		"fetch.wait.max.ms":          10,
		"fetch.queue.backoff.ms":     5,
		"fetch.message.max.bytes":    readBytes,
		"queued.max.messages.kbytes": readBytes >> 10,
		"receive.message.max.bytes":  maxUnpacked,
	} {
		settings[key] = value
	}
	if r.client, err = kafkaclient.NewConsumer(&settings); err != nil {
		return fmt.Errorf("make the second consumer of %s: %w", r.cfg.Topic, err)
	}
	go kafkaclient.ForwardLogs(r.client.Logs(), r.cfg.Log)
	return nil
}

// run reads from the first to the last offset.
func (r *reader) run(ctx context.Context, partition int32, offsets []int64, messages map[int64]*kafka.Message) error {
	wanted := make(map[int64]bool, len(offsets))
	for _, offset := range offsets {
		wanted[offset] = true
	}
	from := kafka.TopicPartition{Topic: &r.cfg.Topic, Partition: partition, Offset: kafka.Offset(offsets[0])}
	if err := r.client.Assign([]kafka.TopicPartition{from}); err != nil {
		return err
	}
	defer r.client.Unassign() //nolint:errcheck // of a client that has no group: nothing is sent
	last := offsets[len(offsets)-1]
	reason := context.DeadlineExceeded
	for deadline := time.Now().Add(readTimeout); time.Now().Before(deadline); {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		switch e := r.client.Poll(int(pollTimeout.Milliseconds())).(type) {
		case *kafka.Message:
			offset := int64(e.TopicPartition.Offset)
			if wanted[offset] {
				messages[offset] = e
			}
			if offset >= last {
				return nil
			}
		case kafka.PartitionEOF:
			return nil
		case kafka.Error:
			if kafkaclient.IsFatal(e) {
				return e
			}
			reason = e
		}
	}
	return reason
}

// abandon has the next fetch make another client, in half a minute where Kafka is away: one that could not read may never be able to
// again.
func (r *reader) abandon() {
	client := r.client
	r.client = nil
	go func() { _ = client.Close() }() // librdkafka may not end it
}

func (r *reader) close() {
	if r.client != nil {
		_ = r.client.Close()
		r.client = nil
	}
}
