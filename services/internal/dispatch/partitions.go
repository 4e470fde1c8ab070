package dispatch

import (
	"context"
	"slices"
	"time"
)

// Assign makes room for partitions that have become ours.
func (d *Dispatcher) Assign(ids []int32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range ids {
		p := &partition{id: id, stored: -1}
		p.ctx, p.cancel = context.WithCancel(context.Background())
		d.partitions[id] = p
	}
}

// Assigned returns the partitions that are assigned, in no order.
func (d *Dispatcher) Assigned() (ids []int32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id := range d.partitions {
		ids = append(ids, id)
	}
	return ids
}

// Start notes where reading of a partition begins: what is before it is committed.
func (d *Dispatcher) Start(id int32, offset int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.partitions[id]; p != nil && p.stored < 0 {
		p.Start(offset)
		p.stored = offset
	}
}

// Skip notes that a partition has been read up to an offset, even if no record lies
// right before it. When [Dispatcher.Add] takes nothing it does nothing either: the
// records before the offset were not taken.
func (d *Dispatcher) Skip(id int32, offset int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.partitions[id]; p != nil && !p.leaving && !d.stopping {
		p.Skip(offset)
	}
}

// End says that no more records will be added. From here on refusals count though
// nothing else goes through, as the rest may all be guilty.
func (d *Dispatcher) End() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ending = true
	signal(d.changed)
}

// Moved returns the offset to commit of each partition that has one and whose
// progress has changed since the last call; of these once more those whose offsets
// have started again, because the topic was made anew.
func (d *Dispatcher) Moved() (moved, back map[int32]int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	moved, back = map[int32]int64{}, map[int32]int64{}
	for id, p := range d.partitions {
		next, known := p.Next()
		if !known || next == p.stored && !p.anew {
			continue
		}
		moved[id] = next
		if p.anew {
			back[id] = next
		}
		p.stored, p.anew = next, false
	}
	return moved, back
}

// Drain begins nothing more of partitions that are about to be taken away, and waits
// for what is under way, for limit at most.
func (d *Dispatcher) Drain(ids []int32, limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	d.leave(ids)
	for d.busy(ids) {
		select {
		case <-d.drained:
		case <-timer.C:
			return
		}
	}
}

func (d *Dispatcher) busy(ids []int32) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.ContainsFunc(ids, func(id int32) bool { p := d.partitions[id]; return p != nil && p.underWay > 0 })
}

// leave drops what waits in partitions. What is under way goes on.
func (d *Dispatcher) leave(ids []int32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range ids {
		if p := d.partitions[id]; p != nil {
			p.leaving = true
		}
	}
	for _, r := range d.queue.leave() {
		d.release(newAttempt([]*Record{r}))
		d.forgotten(r)
	}
	left := func(a *attempt) bool { return !d.prune(a) }
	d.mixed.removeIf(left)
	d.suspects.removeIf(left)
	for _, b := range d.buffers {
		b.parked = slices.DeleteFunc(b.parked, func(a *attempt) bool {
			if dropped := d.takeLeaving(a); len(dropped) > 0 && b.stage == dead {
				d.report.letterEnds()
			}
			return len(a.parts) == 0
		})
	}
	d.endFetchError()
	d.signalRoom()
	signal(d.changed)
}

// Forget drops everything of partitions that belong to somebody else now. Tries under
// way may go on; their end moves nothing.
func (d *Dispatcher) Forget(ids []int32) {
	d.leave(ids)
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range ids {
		if p := d.partitions[id]; p != nil {
			p.gone = true
			p.cancel()
			delete(d.partitions, id)
		}
	}
	d.closeIfIdle(time.Now())
}

// prune drops the parts of an attempt whose partitions are leaving, and reports
// whether others are left.
func (d *Dispatcher) prune(a *attempt) bool {
	if dropped := d.takeLeaving(a); len(dropped) > 0 {
		d.release(&attempt{parts: dropped, stage: a.stage})
	}
	return len(a.parts) > 0
}

// takeLeaving is prune without giving back the room; it returns the parts.
func (d *Dispatcher) takeLeaving(a *attempt) (dropped []Part) {
	if !slices.ContainsFunc(a.parts, func(p Part) bool { return p.partition.leaving }) {
		return nil
	}
	var left []Part
	for _, p := range a.parts {
		if p.partition.leaving {
			dropped = append(dropped, p)
			d.forgotten(p.Record)
		} else {
			left = append(left, p)
		}
	}
	a.parts = left
	return dropped
}

// forgotten tells of a record that is left to others, once.
func (d *Dispatcher) forgotten(r *Record) {
	d.queue.finished(r)
	if !r.forgotten && d.cfg.Finished != nil {
		d.cfg.Finished(r, ErrForgotten)
	}
	r.forgotten = true
}

// closeIfIdle closes the breaker when nothing is left that could tell how the endpoint is, and
// forgets since when it has refused.
func (d *Dispatcher) closeIfIdle(now time.Time) {
	if d.report.refusing.IsZero() && !d.breaker.open || d.unfinished() > 0 {
		return
	}
	d.report.refusing = time.Time{}
	d.breaker.reset()
	if d.report.state == Holding {
		d.report.become(Delivering, now)
	}
}

// Idle reports whether every record that was added is finished.
func (d *Dispatcher) Idle() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.unfinished() == 0
}

// unfinished counts the records that were read and are not finished.
func (d *Dispatcher) unfinished() (n int) {
	for _, p := range d.partitions {
		n += p.Pending()
	}
	return n
}
