package dispatch

import (
	"time"
)

// finish takes an attempt back after a try that ended with err.
func (d *Dispatcher) finish(a *attempt, err error) {
	d.mu.Lock()
	outage := d.end(a, err, time.Now())
	d.mu.Unlock()
	signal(d.changed)
	if outage != nil && d.cfg.Recovered != nil {
		d.cfg.Recovered(*outage)
	}
}

// end does the bookkeeping of finish, and returns the outage that is over by it.
func (d *Dispatcher) end(a *attempt, err error, now time.Time) (over *Outage) {
	delete(d.running, a)
	d.rest(a, now)
	a.exit()
	signal(d.drained)
	switch v := verdictOf(err); {
	case err == nil:
		over = d.pass(a, now)
		d.settle(a, nil)
	case err == ErrSkip: //nolint:errorlint // it is never wrapped
		d.report.counts.Skipped += uint64(len(a.parts))
		d.settle(a, err)
	case v.partial:
		over = d.pass(a, now)
		d.convict(a, err)
	case d.working.Err() != nil:
		d.suspect(a) // cut short by the stop
	case d.cfg.Ordered && len(a.parts) > 1:
		d.takeApart(a, err, v, now)
	case v.permanent || v.split && a.pieces() == 1:
		d.convict(a, err)
	case v.split:
		d.split(a)
	default:
		d.refuse(a, err, v, now)
	}
	a.probe = false
	d.closeIfIdle(now)
	return over
}

// pass notes that an attempt went through.
func (d *Dispatcher) pass(a *attempt, now time.Time) (over *Outage) {
	d.passed, d.passedAt = max(d.passed, a.tick), now
	d.passes++
	d.report.refusing = time.Time{}
	d.luck.learn(a.isolated)
	if a.refused == 0 && !a.split {
		d.batching.pass(len(a.parts))
	}
	if !d.breaker.succeed(a.probe) {
		d.limiter.succeed(a.began, now)
		return nil
	}
	d.limiter.restart()
	d.acquit()
	if d.report.state != Holding {
		return nil
	}
	outage := d.report.recover(now, d.unfinished())
	d.log.Info("delivering again", "took", outage.End.Sub(outage.Began).Round(time.Millisecond), "waiting", outage.Records)
	return &outage
}

// takeApart puts ordered records that were refused together back into their line, where
// fewer go together next: halves, which find the one that can never be done; or, if all of
// them may be done later, each by itself, so that what is done of the others is not done
// again with one that has to wait.
func (d *Dispatcher) takeApart(a *attempt, err error, v verdict, now time.Time) {
	if !d.prune(a) {
		return
	}
	together := len(a.parts) / 2
	if !v.permanent && !v.split {
		together = 1
		d.report.refused(err, now)
		if d.breaker.open {
			d.report.outage.note(err)
		}
	}
	for _, p := range a.parts {
		p.together = together
	}
	d.queue.putBack(a.records())
}

// acquit forgets what speaks against records that were refused only while nothing went
// through. As far as there is room for them, they begin anew, so that they can be tried
// together. It does that once for each, lest a guilty one be acquitted for ever.
func (d *Dispatcher) acquit() {
	d.mixed.removeIf(d.beginAnew)
	d.suspects.removeIf(d.beginAnew)
	for _, a := range d.buffers[suspect].parked {
		if a.acquittable() {
			a.acquit()
		}
	}
	d.signalRoom()
}

// beginAnew is acquit for one attempt, and reports whether it begins anew.
func (d *Dispatcher) beginAnew(a *attempt) bool {
	if !a.acquittable() {
		return false
	}
	from := d.buffers[a.stage]
	if !d.buffers[fresh].admit(a) {
		return false
	}
	from.release(a)
	a.acquit()
	d.queue.putBack(a.records())
	return true
}

// refuse decides what follows from a try that was refused: for the endpoint, and for
// what was tried.
func (d *Dispatcher) refuse(a *attempt, err error, v verdict, now time.Time) {
	d.report.refused(err, now)
	d.blameEndpoint(a, err, v, now)
	if a.refused == 0 && !a.split && d.luck.refusals < minRefusals {
		d.batching.refuse()
	}
	d.ticks++
	a.refused, a.failedAt, a.answered = a.refused+1, d.ticks, !v.unreachable
	switch several, guilty := a.pieces() > 1, d.guilty(a, v); {
	case several && (guilty || d.lonely(a, now)):
		d.split(a)
	case guilty:
		d.convict(a, err)
	default:
		a.due = now.Add(max(ownWait(a.refused-a.isolated), v.after))
		d.suspect(a)
	}
}

// blameEndpoint tells the breaker of a refusal, and people of an outage.
func (d *Dispatcher) blameEndpoint(a *attempt, err error, v verdict, now time.Time) {
	opened := d.breaker.fail(now, failure{
		probe: a.probe, explained: d.explained(a, v), again: a.failedAt > d.passed && (!a.suspected() || v.unreachable),
		answered: !v.unreachable, untried: !d.queue.empty() || len(a.parts) > 1 || a.refused == 0, after: v.after,
	})
	if opened {
		d.report.outage = Outage{Began: now}
	}
	if d.breaker.open {
		d.report.outage.note(err)
		if d.report.state != Holding && (now.Sub(d.passedAt) >= outageAfter || v.after > 0) {
			d.report.become(Holding, d.report.outage.Began)
			d.log.Warn("holding, trying again until it works", "err", err,
				"partition", a.parts[0].TopicPartition.Partition, "offset", int64(a.parts[0].TopicPartition.Offset))
		}
	}
}

// guilty tells whether there is enough evidence against an attempt: to split it, or to
// set it aside if it is a single piece.
func (d *Dispatcher) guilty(a *attempt, v verdict) bool {
	doubt := doubtSetAside
	if a.pieces() > 1 {
		doubt = doubtSplit
	}
	return !v.unreachable && (v.conclusive && a.isolated > 0 || !d.luck.explains(a.isolated, doubt))
}

// lonely tells whether no record is there to be tried that could speak for or against an
// attempt, so that its halves have to: after lonelyTries of it; of several records after one
// that was a probe, or took as long as noAnswer.
func (d *Dispatcher) lonely(a *attempt, now time.Time) bool {
	soon := len(a.parts) > 1 && (a.probe || now.Sub(a.began) >= noAnswer)
	return a.answered && (a.refused >= lonelyTries || soon) && d.queue.empty()
}

// explained tells whether a refusal says nothing about the endpoint, because others
// went through. After the last success each suspect counts against the endpoint once,
// so that some of them together are evidence that it is away now.
func (d *Dispatcher) explained(a *attempt, v verdict) bool {
	switch {
	case d.passed > a.tick:
		return true
	case !a.suspected() || v.unreachable:
		return false
	case a.failedAt < d.passed || a.blamedAt == d.passes:
		return true
	}
	a.blamedAt = d.passes
	return false
}

// ownWait is how long a suspect waits by itself, after so many refusals while nothing else went through.
func ownWait(refused int) time.Duration {
	return min(firstWait<<max(0, min(refused-1, 10)), maxOwnWait)
}

// split makes suspects of the halves of an attempt, to be tried now, in its place. What
// spoke against it does not speak against them.
func (d *Dispatcher) split(a *attempt) {
	if !a.split && !a.probe && d.luck.refusals < minRefusals { // else it says little
		d.batching.split(len(a.parts))
	}
	first, second := a.halves()
	for _, half := range []*attempt{first, second} {
		half.due, half.split, half.ofSuspect = a.due, true, a.ofSuspect || a.isolated > 0
		d.buffers[a.stage].hold(half)
	}
	d.release(a)
	d.suspect(first)
	d.suspect(second)
}

// suspect puts an attempt among the suspects, or parks it. One of several records, and a
// record of it until it is refused alone, stays apart from the others.
func (d *Dispatcher) suspect(a *attempt) {
	to := suspect
	if len(a.parts) > 1 || a.stage != suspect && a.refused == 0 && a.parts[0].Whole() {
		to = mixed
	}
	if d.prune(a) && d.move(a, to) {
		d.wait(a)
	}
}

// wait puts an attempt among those of its stage, to be tried when it is due.
func (d *Dispatcher) wait(a *attempt) {
	if a.due.IsZero() { // it was put off, or is a half of what was never refused
		a.due = time.Now()
	}
	if a.stage == mixed {
		d.mixed.push(a)
	} else {
		d.suspects.push(a)
	}
}

// move takes an attempt to the buffer of a stage, and reports whether there is room
// for its value: else it is parked. It goes behind those that are parked already, even if
// it was in that buffer before, so that they take turns. A turn of a suspect is several
// tries, or the value would be read again for each; it ends early with one that had no answer
// or is to wait for long. While the breaker is open, halves take the turn of their whole: one that
// goes through is found soon.
func (d *Dispatcher) move(a *attempt, to stage) bool {
	from, b := d.buffers[a.stage], d.buffers[to]
	queued := len(b.parked) > 0
	if a.stage == to && (!queued || to == suspect && d.hasTurn(a) || to == mixed && d.breaker.open && a.untried()) {
		return true
	}
	admitted := !queued && b.admit(a)
	switch {
	case admitted:
	case d.cfg.Fetch == nil:
		b.hold(a)
		admitted = true
	default:
		b.park(a)
	}
	from.release(a)
	d.signalRoom()
	return admitted
}

// hasTurn tells whether a suspect may be tried once more before others that are parked.
// While the breaker is open it may not: one of those may be the one that goes through. Nor
// may a whole record that was refused for the first time: of those that an outage has made
// suspects, the innocent ones go through at once.
func (d *Dispatcher) hasTurn(a *attempt) bool {
	return a.refused == 0 || !d.breaker.open && a.refused%triesOfTurn != 0 && (a.refused > 1 || a.split) &&
		time.Since(a.began) < noAnswer && time.Until(a.due) < noAnswer
}

// release gives the room of an attempt back, and tells those that wait for it.
func (d *Dispatcher) release(a *attempt) {
	d.buffers[a.stage].release(a)
	d.signalRoom()
}

// signalRoom tells those that wait for room.
func (d *Dispatcher) signalRoom() {
	signal(d.parked)
	if !d.full(2) {
		signal(d.freed)
	}
}

// convict has each part of an attempt set aside.
func (d *Dispatcher) convict(a *attempt, reason error) {
	for _, p := range a.parts {
		d.queue.finished(p.Record)
		letter := &attempt{parts: []Part{p}, reason: reason}
		d.buffers[a.stage].hold(letter)
		if d.prune(letter) {
			d.report.letters++
			if d.move(letter, dead) {
				d.write(letter)
			}
		}
	}
	d.release(a)
}

// settle ends parts that are delivered, skipped or set aside.
func (d *Dispatcher) settle(a *attempt, err error) {
	for _, p := range a.parts {
		if p.partition.gone || p.forgotten {
			d.forgotten(p.Record)
			continue
		}
		p.delivered = p.delivered || err == nil
		if p.left -= p.To - p.From; p.left > 0 {
			continue
		}
		if p.delivered {
			d.report.counts.Done++
		}
		d.queue.finished(p.Record)
		p.mark.Done()
		if d.cfg.Finished != nil {
			d.cfg.Finished(p.Record, err)
		}
	}
	d.release(a)
}
