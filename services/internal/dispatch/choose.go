package dispatch

import "time"

// next chooses what to try: suspects whose time has come, and records that were not
// tried yet. They take turns, each within slots of their own. While the breaker is
// open what was not tried yet goes first, one at a time, so that each probe is another
// one. If there is nothing, it says after how long to look again, unless something
// changes before.
func (d *Dispatcher) next(now time.Time) (a *attempt, wait time.Duration) {
	if wait := d.throttle(now); wait > 0 {
		return nil, wait
	}
	if d.breaker.open {
		if wait := d.awaitProbe(now); wait > 0 {
			return nil, wait
		}
		if a = d.fromQueue(1); a == nil {
			a = d.suspects.pop()
		}
		if a == nil {
			return nil, idle
		}
		a.probe = true
		return d.begin(a, now), 0
	}
	untried, again := d.awaitQueue(now), d.awaitSuspect(now)
	switch {
	case untried > 0 && again > 0:
		return nil, min(untried, again)
	case again > 0 || untried <= 0 && d.last == suspect:
		a = d.fromQueue(freshRecords)
	default:
		a = d.suspects.pop()
	}
	d.last = a.stage
	return d.begin(a, now), 0
}

// awaitQueue says how long to wait for a try of what was not tried yet.
func (d *Dispatcher) awaitQueue(now time.Time) time.Duration {
	if d.queue.empty() {
		return idle
	}
	return d.awaitSlot(fresh, d.limiter.allowed, now)
}

// awaitSuspect says how long to wait for a try of a suspect.
func (d *Dispatcher) awaitSuspect(now time.Time) time.Duration {
	if len(d.suspects) == 0 {
		return idle
	}
	return max(d.suspects[0].due.Sub(now), d.awaitSlot(suspect, d.limiter.allowed, now))
}

// throttle says how long to wait for the limit of pieces.
func (d *Dispatcher) throttle(now time.Time) time.Duration {
	if d.cfg.Limit == nil {
		return 0
	}
	missing := 1 - d.cfg.Limit.TokensAt(now)
	if missing <= 0 {
		return 0
	}
	return max(time.Duration(missing/float64(d.cfg.Limit.Limit())*float64(time.Second)), time.Millisecond)
}

// fromQueue takes what was not tried yet. While tries fail or have no answer, every
// other one is the latest record, lest all that is left be behind a run of bad ones.
func (d *Dispatcher) fromQueue(maxRecords int) *attempt {
	var records []*Record
	if d.tookLatest = !d.tookLatest && (d.breaker.doubtful() || len(d.running) >= d.limiter.allowed); d.tookLatest {
		records = d.queue.takeLast()
	} else {
		records = d.queue.take(maxRecords, d.cfg.MaxPieces, d.cfg.MaxBytes)
	}
	if records == nil {
		return nil
	}
	return newAttempt(records)
}

// awaitProbe says how long to wait for the next probe, which may begin when none is
// under way, or only some that take too long.
func (d *Dispatcher) awaitProbe(now time.Time) time.Duration {
	wait := d.breaker.retryAt.Sub(now)
	probes := 0
	for a := range d.running {
		if a.probe {
			probes++
			wait = max(wait, a.began.Add(slowProbe).Sub(now))
		}
	}
	if probes >= maxProbes {
		return idle
	}
	return wait
}

// awaitSlot says how long to wait for a slot of a stage. A try that is overdue while
// others go through does not take one up: it is suspect by now. Where even the latest
// one is overdue, another may begin, which tells whether the endpoint still answers.
func (d *Dispatcher) awaitSlot(s stage, slots int, now time.Time) time.Duration {
	taken, overdue, wait, latest := 0, 0, idle, -idle
	for a := range d.running {
		if a.stage != s {
			continue
		}
		left := a.began.Add(d.limiter.overdue()).Sub(now)
		switch {
		case left > 0:
			taken++
			wait, latest = min(wait, left), max(latest, left)
		case d.passed > a.tick && overdue < maxOverdue && d.suspectRoom(a):
			overdue++
		default:
			taken++
		}
	}
	switch {
	case taken < slots:
		return 0
	case taken < slots+maxProbes:
		wait = min(wait, max(latest, 0))
	}
	return wait
}

// suspectRoom tells whether a try that is overdue is held as a suspect.
func (d *Dispatcher) suspectRoom(a *attempt) bool {
	if a.stage == suspect {
		return true
	}
	if !d.buffers[suspect].admit(a) {
		return false
	}
	d.buffers[fresh].release(a)
	signal(d.freed)
	return true
}

// begin begins a try.
func (d *Dispatcher) begin(a *attempt, now time.Time) *attempt {
	if a.answered && (d.passed > a.tick || d.ending) {
		a.isolated++
	}
	d.ticks++
	a.tick, a.began = d.ticks, now
	d.running[a] = struct{}{}
	a.occupy(1)
	for pieces := a.pieces(); d.cfg.Limit != nil && pieces > 0; {
		n := min(pieces, d.cfg.Limit.Burst())
		d.cfg.Limit.ReserveN(now, n)
		pieces -= n
	}
	return a
}
