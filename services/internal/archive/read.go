package archive

import (
	"errors"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"fault-tolerant-tracing/tracing/kafkaclient"
)

// take handles one event of the client.
func (a *Archiver) take(event kafka.Event) {
	switch e := event.(type) {
	case *kafka.Message:
		if e.TopicPartition.Error != nil {
			a.fail(e.TopicPartition.Error)
			return
		}
		a.add(e)
	case kafka.PartitionEOF:
		if p := a.parts[e.Partition]; p != nil {
			p.next = max(p.next, int64(e.Offset)) // what lies before it are marks of transactions
		}
	case kafka.Error:
		a.fail(e)
	case kafka.OffsetsCommitted:
		if e.Error != nil {
			a.log.Debug("could not commit offsets", "topic", a.cfg.Topic, "err", e.Error)
		}
	}
}

// fail handles an error of the client, which tries again by itself.
func (a *Archiver) fail(err error) {
	var e kafka.Error
	switch {
	case errors.As(err, &e) && kafkaclient.IsFatal(e):
		a.fatal = &e
	case e.Code() == kafka.ErrAutoOffsetReset:
		a.placed = false // records were removed, or the topic was made anew
	case e.Code() == kafka.ErrTransport || e.Code() == kafka.ErrAllBrokersDown || e.Code() == kafka.ErrResolve:
		// librdkafka's own log tells it
	case err.Error() != a.told:
		a.told = err.Error()
		a.log.Warn("kafka does not give records, trying again", "topic", a.cfg.Topic, "err", err)
	}
}

// add takes a record into the open segment of its partition.
func (a *Archiver) add(m *kafka.Message) {
	p, offset := a.parts[m.TopicPartition.Partition], int64(m.TopicPartition.Offset)
	if p == nil || offset < p.next {
		return
	}
	if p.open == nil {
		p.open = newBuilder(a.partition(m.TopicPartition.Partition), a.zstd)
	}
	before := p.open.raw
	p.open.add(newRecord(m))
	p.next = offset + 1
	a.open += p.open.raw - before
	a.full = a.full || p.open.raw >= segmentBytes || a.open >= openBytes
}

func newRecord(m *kafka.Message) Record {
	r := Record{Offset: int64(m.TopicPartition.Offset), Timestamp: m.Timestamp.UnixMilli(), Key: m.Key, Value: m.Value}
	if m.TimestampType == kafka.TimestampNotAvailable {
		r.Timestamp = -1 // as Kafka writes it
	}
	for _, h := range m.Headers {
		r.Headers = append(r.Headers, Header{h.Key, h.Value})
	}
	return r
}

func (a *Archiver) partition(number int32) Partition {
	return Partition{Topic: a.cfg.Topic, TopicID: a.topicID, Number: number}
}
