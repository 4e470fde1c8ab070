package tracing

import (
	"log/slog"
	"sync/atomic"

	"fault-tolerant-tracing/tracing/batch"

	"github.com/uber/jaeger-client-go"
)

// losses counts the spans that a transport or its reporter could not keep, and
// logs each burst of losses twice: when it starts, with the reason, and when it
// is over, with the numbers.
type losses struct {
	log *slog.Logger

	fullQueue, tooLarge, failed atomic.Int64

	burst atomic.Bool // a burst has started and is not over

	// of the one goroutine that calls report
	last     batch.Stats // at the last call of report
	reported batch.Stats // as of the end of the last burst
}

func (l *losses) stats() batch.Stats {
	return batch.Stats{
		FullQueueDropped: l.fullQueue.Load(),
		TooLargeDropped:  l.tooLarge.Load(),
		FailedToEmit:     l.failed.Load(),
	}
}

// add counts n lost spans and logs the start of a burst. It is safe for
// concurrent use.
func (l *losses) add(counter *atomic.Int64, n int, reason string) {
	counter.Add(int64(n))
	if !l.burst.Load() && l.burst.CompareAndSwap(false, true) {
		l.log.Warn("losing spans", "reason", reason)
	}
}

// report is called once per flush interval. A burst is over when nothing was
// lost since the last call.
func (l *losses) report() {
	now := l.stats()
	if now == l.last {
		l.finish()
	}
	l.last = now
}

// finish logs what the burst lost, if there was one.
func (l *losses) finish() {
	if !l.burst.CompareAndSwap(true, false) {
		return
	}
	now := l.stats()
	l.log.Warn("lost spans",
		"full_queue", now.FullQueueDropped-l.reported.FullQueueDropped,
		"too_large", now.TooLargeDropped-l.reported.TooLargeDropped,
		"failed_to_emit", now.FailedToEmit-l.reported.FailedToEmit)
	l.reported = now
}

// Metrics returns metrics for the reporter that feeds the transport
// (jaeger.ReporterOptions.Metrics). Only through them does the transport learn of
// the spans that the reporter dropped because its queue was full.
func (l *losses) Metrics() *jaeger.Metrics {
	m := jaeger.NewNullMetrics()
	m.ReporterDropped = droppedCounter{l}
	return m
}

// droppedCounter is a metrics.Counter of jaeger-lib.
type droppedCounter struct{ losses *losses }

func (c droppedCounter) Inc(n int64) {
	c.losses.add(&c.losses.fullQueue, int(n), "the reporter's queue is full")
}
