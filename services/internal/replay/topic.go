package replay

import (
	"context"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"fault-tolerant-tracing/services/internal/scan"
)

// lateness is how long after its timestamp a record may have come to the topic and
// still be found: its writer may have waited for Kafka, and the records behind it
// be older.
const lateness = time.Hour

// FromTopic returns the records that are on a topic now and were written between
// the two times, to excluded; a zero time is no limit. It yields further records
// around these, of other times.
func FromTopic(topic *scan.Topic, from, to time.Time) (*TopicSource, error) {
	if !to.IsZero() {
		to = to.Add(lateness)
	}
	ranges, err := topic.Between(from, to)
	if err != nil {
		return nil, err
	}
	return FromRanges(topic, ranges), nil
}

// FromRanges returns the records of some parts of a topic.
func FromRanges(topic *scan.Topic, ranges []scan.Range) *TopicSource {
	return &TopicSource{topic, ranges}
}

// TopicSource is a part of a topic.
type TopicSource struct {
	topic  *scan.Topic
	ranges []scan.Range
}

// Total implements [Source].
func (s *TopicSource) Total(context.Context) (int64, error) { return scan.Records(s.ranges), nil }

// Read implements [Source].
func (s *TopicSource) Read(ctx context.Context, yield func(Record) error) error {
	return s.topic.Read(ctx, s.ranges, func(m *kafka.Message) error {
		return yield(Record{
			Partition: m.TopicPartition.Partition, Offset: int64(m.TopicPartition.Offset),
			Time: m.Timestamp, Key: m.Key, Value: m.Value, Headers: m.Headers,
		})
	})
}
