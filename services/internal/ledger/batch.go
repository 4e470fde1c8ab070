package ledger

import (
	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"fault-tolerant-tracing/services/internal/payload"
	"fault-tolerant-tracing/tracing/numbering"
)

// Batch is what a record says of itself.
type Batch struct {
	SeqNo int64            // its number among the batches of its process, from 1 on; 0: it has none
	Lost  numbering.Losses // what the process has lost so far

	spans payload.Spans
}

// Of returns what a record says of itself: a batch of jaeger.thrift in its fields, one of
// OTLP in the record's headers (package numbering). spans are those that the record holds.
func Of(headers []kafka.Header, spans payload.Spans) Batch {
	b := Batch{spans: spans}
	if frame, is := spans.Thrift(); is {
		b.SeqNo, _ = frame.SeqNo()
		stats, _ := frame.Stats()
		b.Lost = numbering.Losses{FullQueue: stats.FullQueueDropped, TooLarge: stats.TooLargeDropped, FailedToEmit: stats.FailedToEmit}
		return b
	}
	for _, h := range headers {
		switch h.Key {
		case numbering.SeqNoHeader:
			b.SeqNo, _ = numbering.ParseSeqNo(h.Value)
		case numbering.LossesHeader:
			b.Lost, _ = numbering.ParseLosses(h.Value)
		}
	}
	return b
}
