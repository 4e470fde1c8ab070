package deadletter

import (
	"strconv"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// Entry is a record that was set aside. What its headers do not tell is zero.
type Entry struct {
	Topic     string // that it came from
	Partition int32
	Offset    int64
	Reason    string
	Time      time.Time // when it was set aside first; if the headers do not tell, the timestamp on the dead-letter topic

	Key, Value []byte
	Headers    []kafka.Header // its own
	CutFrom    int            // how many bytes of key, value and headers it had before it was cut; 0: it is whole
}

// Read returns what a record of a dead-letter topic says. If it has a header
// twice, the last one counts.
func Read(m *kafka.Message) Entry {
	e := Entry{Time: m.Timestamp, Key: m.Key, Value: m.Value}
	for _, h := range m.Headers {
		if !e.take(h.Key, string(h.Value)) {
			e.Headers = append(e.Headers, h)
		}
	}
	return e
}

// Again makes a letter of an entry, or of a part of its value, that is to be set
// aside anew: it keeps where it came from, when it was set aside, and whether it was cut.
func (e Entry) Again(value []byte, reason error) Letter {
	return Letter{
		Topic: e.Topic, Partition: e.Partition, Offset: e.Offset,
		Key: e.Key, Value: value, Headers: e.Headers, Reason: reason, Time: e.Time, CutFrom: e.CutFrom,
	}
}

// take reads a header that was added; false: it is another one.
func (e *Entry) take(key, value string) bool {
	switch key {
	case HeaderReason:
		e.Reason = value
	case HeaderTopic:
		e.Topic = value
	case HeaderPartition:
		partition, _ := strconv.ParseInt(value, 10, 32)
		e.Partition = int32(partition)
	case HeaderOffset:
		e.Offset, _ = strconv.ParseInt(value, 10, 64)
	case HeaderTime:
		if at, err := time.Parse(time.RFC3339Nano, value); err == nil {
			e.Time = at
		}
	case HeaderTruncated: // HeaderBytes says more
	case HeaderBytes:
		e.CutFrom, _ = strconv.Atoi(value)
	default:
		return false
	}
	return true
}
