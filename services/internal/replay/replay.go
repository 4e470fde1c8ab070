// Package replay sends spans to Jaeger once more: what is on tracing-topic, or in
// an archive of it. It moves no offsets of any consumer group.
package replay

import (
	"context"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// Record is one record of tracing-topic, wherever it was kept.
type Record struct {
	Partition  int32
	Offset     int64
	Time       time.Time // the record's timestamp
	Key, Value []byte
	Headers    []kafka.Header // none where it comes from an archive
}

// Source is where records come from.
type Source interface {
	// Total says how many records Read will yield. It may count more than there
	// are, as a topic does from which records were removed.
	Total(ctx context.Context) (records int64, err error)

	// Read calls yield for each record, those of a partition in the order of
	// their offsets, from one goroutine. It blocks until the last one, until ctx
	// ends, or until yield returns an error, which it returns. Each record's key
	// and value are yield's to keep.
	Read(ctx context.Context, yield func(Record) error) error
}
