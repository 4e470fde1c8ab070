package dispatch

import (
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/time/rate"
)

const (
	firstWait = 50 * time.Millisecond
	maxWait   = 500 * time.Millisecond // first delivery within 1 s of recovery

	// maxFailures in a row, of different attempts, open the breaker: where a third of the
	// records is bad, that happens by chance once in 243. So does one attempt that fails
	// twice, if nothing that began meanwhile went through.
	maxFailures = 5

	// So many records that were never tried are probed one after the other without a
	// wait between, and then so many a second: a run of bad records must not keep the
	// good ones behind it, and an endpoint in trouble not be flooded.
	quickProbes    = 1000
	quickProbeRate = 50

	// maxProbes is how many probes may wait for their answer, if each takes longer
	// than slowProbe.
	maxProbes = 16
	slowProbe = 250 * time.Millisecond
)

// breaker is the circuit breaker before the endpoint: closed, everything may be
// tried; open, nothing until a time; then half-open, one probe at a time. It goes by
// what different attempts tell: one that is refused while others go through says
// nothing about the endpoint. It is a state machine without a clock of its own.
type breaker struct {
	open     bool
	failures int       // in a row, while closed
	retryAt  time.Time // while open
	asked    time.Time // while open; the endpoint wants no try before, as it has answered to any of them
	waits    *backoff.ExponentialBackOff
	quick    *rate.Limiter
}

func newBreaker() breaker {
	return breaker{
		waits: &backoff.ExponentialBackOff{
			InitialInterval:     firstWait,
			RandomizationFactor: 0.2,
			Multiplier:          2,
			MaxInterval:         maxWait / 12 * 10, // with jitter never above maxWait
		},
		quick: rate.NewLimiter(quickProbeRate, quickProbes),
	}
}

// succeed notes a success, and reports whether it has closed the breaker: only a
// probe does, what began before it opened says nothing about now.
func (b *breaker) succeed(probe bool) (closed bool) {
	b.failures = 0
	if !b.open || !probe {
		return false
	}
	b.open = false
	return true
}

// doubtful tells whether nothing has gone through since the last failure.
func (b *breaker) doubtful() bool { return b.open || b.failures > 0 }

// failure is a try that failed.
type failure struct {
	probe     bool          // it began while the breaker was open
	explained bool          // others went through: it is the attempt's own
	again     bool          // the attempt has failed before, and nothing that began since went through
	answered  bool          // the fault may lie in the attempt
	untried   bool          // another record may be innocent: never tried, acquitted, or one of several that were refused together
	after     time.Duration // the endpoint's own wish
}

// fail notes a failure, and reports whether it has opened the breaker.
func (b *breaker) fail(now time.Time, f failure) (opened bool) {
	if !b.open {
		if f.explained {
			return false
		}
		if b.failures++; b.failures < maxFailures && !f.again {
			return false
		}
		b.open, b.failures = true, 0
		b.waits.Reset()
		b.asked, opened = time.Time{}, true
	}
	if asked := now.Add(f.after); asked.After(b.asked) {
		b.asked = asked
	}
	if opened || f.probe { // what began before it opened tells nothing new
		wait := time.Duration(0)
		if !(f.answered && f.untried && f.after == 0 && b.quick.AllowN(now, 1)) {
			wait = b.waits.NextBackOff()
		}
		b.retryAt = now.Add(wait)
	}
	if b.retryAt.Before(b.asked) {
		b.retryAt = b.asked
	}
	return opened
}

// reset closes the breaker when there is nothing left to try.
func (b *breaker) reset() { b.open, b.failures = false, 0 }
