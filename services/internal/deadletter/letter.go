package deadletter

import (
	"slices"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// The headers added to a record that is set aside. Its own headers are kept,
// unless they have one of these names: then an earlier setting-aside left them.
const (
	HeaderReason    = "dlq.reason"
	HeaderTopic     = "dlq.topic"
	HeaderPartition = "dlq.partition"
	HeaderOffset    = "dlq.offset"
	HeaderTime      = "dlq.time"      // RFC 3339, when it was set aside first
	HeaderTruncated = "dlq.truncated" // "true": the record was cut; otherwise there is no such header
	HeaderBytes     = "dlq.bytes"     // size of key, value and headers before it was cut
)

// Letter is a record that is to be set aside.
type Letter struct {
	Topic     string // where it came from
	Partition int32
	Offset    int64

	Key, Value []byte
	Headers    []kafka.Header // its own
	Reason     error

	// Time is when the record was set aside, if that was before. Zero: now.
	Time time.Time

	// CutFrom is how many bytes of key, value and headers the record had, if it
	// was cut when it was set aside before. 0: it is whole.
	CutFrom int
}

// Of makes a letter of a record that was consumed.
func Of(m *kafka.Message, reason error) Letter {
	from := m.TopicPartition
	return Letter{
		Topic: *from.Topic, Partition: from.Partition, Offset: int64(from.Offset),
		Key: m.Key, Value: m.Value, Headers: m.Headers, Reason: reason,
	}
}

// own returns a copy of the record's own headers.
func (l Letter) own() []kafka.Header {
	return slices.DeleteFunc(slices.Clone(l.Headers), func(h kafka.Header) bool {
		return new(Entry).take(h.Key, "")
	})
}
