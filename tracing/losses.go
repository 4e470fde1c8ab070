package tracing

import (
	"fault-tolerant-tracing/tracing/batch"
	"fault-tolerant-tracing/tracing/internal/outbox"

	"github.com/uber/jaeger-client-go"
)

// losses are the spans that a transport or its reporter could not keep.
type losses struct{ tally *outbox.Tally }

// dropped is how many spans the reporter could not keep.
func (l losses) dropped() uint64 { return uint64(l.tally.Losses().FullQueue) }

func (l losses) stats() batch.Stats {
	now := l.tally.Losses()
	return batch.Stats{FullQueueDropped: now.FullQueue, TooLargeDropped: now.TooLarge, FailedToEmit: now.FailedToEmit}
}

// Metrics returns metrics for the reporter that feeds the transport
// (jaeger.ReporterOptions.Metrics). Only through them does the transport learn of
// the spans that the reporter dropped because its queue was full.
func (l losses) Metrics() *jaeger.Metrics {
	m := jaeger.NewNullMetrics()
	m.ReporterDropped = droppedCounter(l)
	return m
}

// droppedCounter is a metrics.Counter of jaeger-lib.
type droppedCounter losses

func (c droppedCounter) Inc(n int64) { c.tally.FullQueue(int(n), "the reporter's queue is full") }
