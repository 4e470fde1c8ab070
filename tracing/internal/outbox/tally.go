package outbox

import (
	"log/slog"
	"sync/atomic"

	"fault-tolerant-tracing/tracing/numbering"
)

// Tally counts the spans that could not be kept, and logs each burst of losses
// twice: when it starts, with the reason, and when it is over, with the numbers.
type Tally struct {
	log *slog.Logger

	fullQueue, tooLarge, failedToEmit atomic.Int64

	burst atomic.Bool // a burst has started and is not over

	// of the one goroutine that calls Report
	last     numbering.Losses // at the last call of Report
	reported numbering.Losses // as of the end of the last burst
}

// NewTally makes a tally that logs to log.
func NewTally(log *slog.Logger) *Tally { return &Tally{log: log} }

// Losses returns what is counted so far. It is safe for several goroutines, as are
// the three that count.
func (t *Tally) Losses() numbering.Losses {
	return numbering.Losses{
		FullQueue:    t.fullQueue.Load(),
		TooLarge:     t.tooLarge.Load(),
		FailedToEmit: t.failedToEmit.Load(),
	}
}

// FullQueue counts n spans as dropped before the outbox.
func (t *Tally) FullQueue(n int, reason string) { t.add(&t.fullQueue, n, reason) }

// TooLarge counts n spans as each too large for a record.
func (t *Tally) TooLarge(n int, reason string) { t.add(&t.tooLarge, n, reason) }

// FailedToEmit counts n spans as lost for another reason.
func (t *Tally) FailedToEmit(n int, reason string) { t.add(&t.failedToEmit, n, reason) }

// add counts n spans; a record may be lost that holds none.
func (t *Tally) add(counter *atomic.Int64, n int, reason string) {
	counter.Add(int64(n))
	if n > 0 && !t.burst.Load() && t.burst.CompareAndSwap(false, true) {
		t.log.Warn("losing spans", "reason", reason)
	}
}

// Report is called now and then, by one goroutine at a time. A burst is over when
// nothing was lost since the last call.
func (t *Tally) Report() {
	now := t.Losses()
	if now == t.last {
		t.Finish()
	}
	t.last = now
}

// Finish logs what the burst lost, if there was one. It is called as Report is.
func (t *Tally) Finish() {
	if !t.burst.CompareAndSwap(true, false) {
		return
	}
	now := t.Losses()
	t.log.Warn("lost spans",
		"full_queue", now.FullQueue-t.reported.FullQueue,
		"too_large", now.TooLarge-t.reported.TooLarge,
		"failed_to_emit", now.FailedToEmit-t.reported.FailedToEmit)
	t.reported = now
}
