package dispatch

import (
	"context"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// pauses are the waits between failures that last.
func pauses() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = firstPause, maxPause
	return b
}

// pause blocks for a while, and reports whether ctx has not ended.
func pause(ctx context.Context, wait time.Duration) bool {
	select {
	case <-ctx.Done():
	case <-time.After(wait):
	}
	return ctx.Err() == nil
}

// write begins to set a part aside, in the background.
func (d *Dispatcher) write(letter *attempt) {
	letter.enter()
	letter.began = time.Now()
	d.writing[letter] = struct{}{}
	d.work.Go(func() { d.setAside(letter) })
}

// setAside keeps a part that cannot be delivered, however long that takes. It ends
// early when the partition is taken away or the dispatcher stops.
func (d *Dispatcher) setAside(letter *attempt) {
	p := letter.parts[0]
	ctx, cancel := context.WithCancel(d.working)
	defer cancel()
	defer context.AfterFunc(p.partition.ctx, cancel)()
	var err error
	for waits := pauses(); ; {
		if err = d.cfg.SetAside(ctx, p, letter.reason); err == nil || ctx.Err() != nil {
			break
		}
		d.reportLetter(p, letter.reason, err)
		if !pause(ctx, waits.NextBackOff()) {
			break
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	letter.exit()
	delete(d.writing, letter)
	signal(d.drained)
	if err != nil {
		d.report.letterEnds()
		d.forgotten(p.Record)
		d.release(letter)
		return
	}
	d.report.deadErr = nil
	d.report.letterEnds()
	d.report.counts.SetAside++
	d.log.Warn("set aside", "partition", p.TopicPartition.Partition, "offset", int64(p.TopicPartition.Offset),
		"pieces", p.To-p.From, "of", max(p.Pieces, 1), "err", letter.reason)
	d.settle(letter, letter.reason)
	d.closeIfIdle(time.Now())
}

func (d *Dispatcher) reportLetter(p Part, reason, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.report.letterError(err, time.Now())
	d.log.Warn("could not set aside, trying again", "partition", p.TopicPartition.Partition, "offset", int64(p.TopicPartition.Offset),
		"err", err, "reason", reason)
}

// fetchParked reads the values of what is parked again whenever there is room, until
// ctx ends.
func (d *Dispatcher) fetchParked(ctx context.Context) {
	if d.cfg.Fetch == nil {
		return
	}
	waits := pauses()
	waits.MaxInterval = maxFetchPause // those that can be read wait too
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.parked:
		}
		for ctx.Err() == nil {
			d.mu.Lock()
			var next []*attempt
			for _, b := range d.buffers {
				next = append(next, b.next(maxFetch)...)
			}
			d.mu.Unlock()
			if len(next) == 0 {
				break
			}
			if err := d.fetch(ctx, next); err == nil {
				waits.Reset()
			} else {
				pause(ctx, waits.NextBackOff())
			}
		}
	}
}

// fetch reads the values of these attempts again, and lets them go on. Those of a
// partition that cannot be read are parked again, so that the others do not wait for
// them. When ctx ends they are in no list any more.
func (d *Dispatcher) fetch(ctx context.Context, next []*attempt) error {
	d.mu.Lock()
	offsets := make(map[*partition][]int64)
	for _, a := range next {
		for _, p := range a.parts {
			if p.dropped && !p.partition.leaving {
				offsets[p.partition] = append(offsets[p.partition], int64(p.TopicPartition.Offset))
			}
		}
	}
	d.mu.Unlock()
	fetched := make(map[*partition]map[int64]*kafka.Message, len(offsets))
	var failed error
	for p, wanted := range offsets {
		slices.Sort(wanted)
		messages, err := d.cfg.Fetch(ctx, p.id, slices.Compact(wanted))
		if err == nil {
			fetched[p] = messages
		} else if ctx.Err() == nil {
			failed = err
			d.log.Warn("could not read records again, trying again", "partition", p.id, "err", err)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	d.report.fetchError(failed, time.Now())
	for _, a := range next {
		d.restore(a, fetched)
	}
	d.endFetchError()
	signal(d.changed)
	return failed
}

// endFetchError ends a failure to read again when nothing waits for it any more.
func (d *Dispatcher) endFetchError() {
	if d.parkedAttempts() == 0 {
		d.report.fetchErr = nil
	}
}

// restore lets an attempt go on with its values. Parts whose records are gone from
// the topic, or are others now as it was made anew, are set aside without a value.
func (d *Dispatcher) restore(a *attempt, fetched map[*partition]map[int64]*kafka.Message) {
	var gone, left []Part
	unread := false
	for _, p := range a.parts {
		messages, read := fetched[p.partition]
		m := messages[int64(p.TopicPartition.Offset)]
		switch {
		case !p.dropped || !read:
			left = append(left, p)
			unread = unread || p.dropped && !p.partition.leaving
		case m != nil && m.Timestamp.Equal(p.Timestamp):
			p.restore(m)
			left = append(left, p)
		default:
			gone = append(gone, p)
		}
	}
	if b := d.buffers[a.stage]; unread {
		b.release(a)
		b.park(a)
		return
	}
	if a.stage == dead {
		if d.prune(a) {
			d.write(a)
		} else {
			d.report.letterEnds()
		}
		return
	}
	if len(gone) > 0 {
		d.convict(&attempt{parts: gone, stage: a.stage}, ErrGone)
	}
	if a.parts = left; d.prune(a) {
		d.wait(a)
	}
}
