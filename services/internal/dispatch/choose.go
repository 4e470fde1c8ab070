package dispatch

import (
	"context"
	"time"
)

// next chooses what to try. Suspects whose time has come have slots of their own, and take turns with all others; among those,
// what was refused together and records that were not tried yet take turns. While the breaker is open what was not tried yet
// goes first, one at a time, so that each probe is another one. If there is nothing, it says after how long to look again,
// unless something changes before.
func (d *Dispatcher) next(now time.Time) (a *attempt, wait time.Duration) {
	if wait := d.rateWait(now); wait > 0 {
		return nil, wait
	}
	if d.breaker.open {
		if wait := d.probeWait(now); wait > 0 {
			return nil, wait
		}
		if a = d.fromQueue(1); a == nil {
			a = d.probed().pop()
		}
		if a == nil {
			return nil, idle
		}
		a.probe = true
		d.isolate(a)
		return d.begin(a, now), 0
	}
	for {
		together, untried := d.freshWaits(now)
		again := d.suspectWait(now)
		switch first := min(together, untried); {
		case first > 0 && again > 0:
			return nil, min(first, again)
		case first > 0 || again <= 0 && !d.last.behind():
			a = d.suspects.pop()
		case together <= 0 && (untried > 0 || !d.tookMixed):
			a, d.tookMixed = d.mixed.pop(), true
		default:
			a, d.tookMixed = d.fromQueue(d.batching.records), false
		}
		d.last = a.stage
		d.isolate(a)
		if !a.split || a.isolated == 0 || a.pieces() == 1 || d.luck.explains(a.isolated, doubtSplit) {
			return d.begin(a, now), 0
		}
		d.split(a) // without another try: what it is a half of had two
	}
}

// freshWaits says how long to wait for a try of what was refused together, and for one
// of what was not tried yet. They share the slots.
func (d *Dispatcher) freshWaits(now time.Time) (together, untried time.Duration) {
	together, untried = idle, idle
	if len(d.mixed) == 0 && d.queue.empty() {
		return together, untried
	}
	slot := d.slotWait(false, now)
	if len(d.mixed) > 0 {
		together = max(d.mixed[0].due.Sub(now), slot)
	}
	if !d.queue.empty() {
		untried = slot
	}
	return together, untried
}

// probed returns the suspects that the next probe is of: halves that were not tried yet; without them, single ones and
// several that were refused together, in turn.
func (d *Dispatcher) probed() *suspects {
	together := len(d.mixed) > 0 && (d.mixed[0].untried() || !d.tookMixed)
	if d.tookMixed = together || len(d.suspects) == 0; d.tookMixed {
		return &d.mixed
	}
	return &d.suspects
}

// suspectWait says how long to wait for a try of a suspect.
func (d *Dispatcher) suspectWait(now time.Time) time.Duration {
	if len(d.suspects) == 0 {
		return idle
	}
	wait := max(d.suspects[0].due.Sub(now), d.slotWait(true, now))
	if untried := d.buffers[fresh]; !d.queue.empty() || untried.used > untried.max/2 {
		wait = max(wait, d.restUntil.Sub(now))
	}
	return wait
}

// rest has suspects wait after a try of one, for suspectRest times as long as it took, while
// other records wait for their first try or fill half of the room for it: the endpoint is
// busy enough with those.
func (d *Dispatcher) rest(a *attempt, now time.Time) {
	if a.stage.behind() {
		took := min(now.Sub(a.began), d.limiter.overdue())
		d.restUntil = now.Add(suspectRest * took)
	}
}

// rateWait says how long to wait for the limit of pieces.
func (d *Dispatcher) rateWait(now time.Time) time.Duration {
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
// other one is from the back, lest all that is left be behind a run of bad ones.
func (d *Dispatcher) fromQueue(maxRecords int) *attempt {
	var records []*Record
	if d.fromBack = !d.fromBack && (d.breaker.doubtful() || len(d.running) >= d.limiter.allowed); d.fromBack {
		records = d.queue.takeLast()
	} else {
		records = d.queue.take(maxRecords, d.cfg.MaxPieces, d.cfg.MaxBytes)
	}
	if records == nil {
		return nil
	}
	return newAttempt(records)
}

// probeWait says how long to wait for the next probe, which may begin when none is
// under way, or only some that take too long.
func (d *Dispatcher) probeWait(now time.Time) time.Duration {
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

// slotWait says how long to wait for a slot, of suspects or of all others. A try that is
// overdue while others go through does not take one up: it is suspect by now. Where even
// the latest one is overdue, another may begin, which tells whether the endpoint still
// answers.
func (d *Dispatcher) slotWait(suspects bool, now time.Time) time.Duration {
	taken, young, overdue, wait := 0, 0, 0, idle
	for a := range d.running {
		if suspects != a.stage.behind() {
			continue
		}
		left := a.began.Add(d.limiter.overdue()).Sub(now)
		switch {
		case left > 0:
			taken, young = taken+1, young+1
			wait = min(wait, left)
		case d.passed > a.tick && overdue < maxOverdue && (len(a.parts) > 1 || d.moveOverdue(a)):
			overdue++ // those of several records are cut short, unless they are ordered
		default:
			taken++
		}
	}
	slots := d.limiter.allowed
	if suspects {
		slots = max(slots/suspectShare, 1)
	}
	if taken < slots || young == 0 && taken < slots+maxProbes {
		return 0
	}
	return wait
}

// cutHopeless cuts tries of several records short that have no answer while others go
// through: their halves are tried instead, so that those in them that are not to blame
// wait no longer. Ordered ones would wait all the same. It says after how long to look again.
func (d *Dispatcher) cutHopeless(now time.Time) (wait time.Duration) {
	wait = idle
	for a := range d.running {
		if len(a.parts) == 1 || d.cfg.Ordered {
			continue
		}
		if left := a.began.Add(d.limiter.hopeless()).Sub(now); left > 0 {
			wait = min(wait, left)
		} else if d.passed > a.tick {
			a.cut()
		}
	}
	return wait
}

// moveOverdue holds a try that is overdue as a suspect, if there is room.
func (d *Dispatcher) moveOverdue(a *attempt) bool {
	if a.stage == suspect {
		return true
	}
	from := d.buffers[a.stage]
	if !d.buffers[suspect].admit(a) {
		return false
	}
	from.release(a)
	d.signalRoom()
	return true
}

// isolate counts the last refusal of an attempt against it if others went through since.
// It is called once before the next try.
func (d *Dispatcher) isolate(a *attempt) {
	if a.answered && (d.passed > a.tick || d.ending) {
		a.isolated++
		a.answered = false
	}
}

// begin begins a try.
func (d *Dispatcher) begin(a *attempt, now time.Time) *attempt {
	d.ticks++
	a.tick, a.began = d.ticks, now
	ctx, cut := context.WithCancel(d.working)
	a.ctx, a.cut = ctx, cut
	if d.cfg.Ordered { // what the next owner of the partition writes must not be followed by the rest of this
		stop := context.AfterFunc(a.parts[0].partition.ctx, cut)
		a.cut = func() { stop(); cut() }
	}
	d.running[a] = struct{}{}
	a.enter()
	if limit := d.cfg.Limit; limit != nil {
		for pieces := a.pieces(); pieces > 0; pieces -= limit.Burst() {
			limit.ReserveN(now, min(pieces, limit.Burst()))
		}
	}
	return a
}
