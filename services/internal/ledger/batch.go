package ledger

import (
	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"fault-tolerant-tracing/services/internal/payload"
	"fault-tolerant-tracing/tracing/batch"
)

// Batch is what a record says of itself.
type Batch struct {
	SeqNo int64       // its number among the batches of its process, from 1 on; 0: it has none
	Lost  batch.Stats // what the process has lost so far

	spans payload.Spans
}

// Of returns what the record says of itself. Its spans are those it holds, none if it
// holds none.
func Of(_ *kafka.Message, spans payload.Spans) Batch {
	b := Batch{spans: spans}
	if frame, is := spans.Thrift(); is {
		b.SeqNo, _ = frame.SeqNo()
		b.Lost, _ = frame.Stats()
	}
	return b
}
