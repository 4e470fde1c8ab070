package archive

import (
	"context"
	"errors"
	"time"
)

// unconfirmed tells whether records have come since the topic was last seen to be
// the same.
func (a *Archiver) unconfirmed() bool {
	for _, p := range a.parts {
		if p.open != nil && p.open.segment.Last > p.confirmed {
			return true
		}
	}
	return false
}

// confirm makes sure that what was read so far is of the topic with our id. If
// that is gone, it is: nothing can have come from another one yet. A topic that
// is deleted and made anew between two calls, which are a second apart, leaves
// records of which that is not known; they are dropped here, and read again if
// they are the new one's.
func (a *Archiver) confirm(ctx context.Context) error {
	var id string
	read := a.lastRead()
	err := a.hold(ctx, func(ctx context.Context) (err error) {
		id, err = a.askTopicID(ctx)
		return err
	})
	if err != nil {
		return err
	}
	a.checked = time.Now()
	if a.same(id, read) {
		return nil
	}
	a.log.Warn("the topic was made anew, archiving it from its start", "topic", a.cfg.Topic, "topic_id", id)
	err = a.writeConfirmed(ctx, a.hold)
	a.parts, a.open, a.placed = nil, 0, false
	return err
}

// lastRead returns the last offset of each open segment.
func (a *Archiver) lastRead() map[*partition]int64 {
	last := map[*partition]int64{}
	for _, p := range a.parts {
		if p.open != nil {
			last[p] = p.open.segment.Last
		}
	}
	return last
}

// same notes what an answer of Kafka says about what was read before it was asked.
func (a *Archiver) same(id string, read map[*partition]int64) bool {
	if id != "" && id != a.topicID {
		return false
	}
	records := 0
	for p, last := range read {
		p.confirmed = last
		records += p.open.records
	}
	a.log.Debug("the topic is still the same", "topic", a.cfg.Topic, "topic_id", id, "open_records", records)
	return true
}

// writeConfirmed writes what is known to be of the topic with our id.
func (a *Archiver) writeConfirmed(ctx context.Context, try persist) error {
	var errs []error
	for _, p := range a.parts {
		if p.open == nil {
			continue
		}
		b, err := a.detach(p).upTo(p.confirmed)
		if b != nil {
			err = a.upload(ctx, b, try)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// handOver writes what is open, as far as that can be done at once.
func (a *Archiver) handOver() {
	ctx, cancel := context.WithTimeout(context.Background(), revokeTimeout)
	defer cancel()
	if !a.unconfirmed() && a.open == 0 {
		return
	}
	if id, err := a.askTopicID(ctx); err == nil {
		a.same(id, a.lastRead())
	}
	_ = a.writeConfirmed(ctx, once) // it has told in the log what could not be written
}
