package archive

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// writeDue closes and writes the segments that are large or old enough.
func (a *Archiver) writeDue(ctx context.Context) error {
	if !a.full && time.Since(a.looked) < dueInterval {
		return nil
	}
	a.looked, a.full = time.Now(), false
	if time.Since(a.checked) > confirmEvery && a.unconfirmed() {
		if err := a.confirm(ctx); err != nil {
			return err
		}
	}
	for p := a.due(); p != nil; p = a.due() {
		if err := a.write(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// due returns a partition whose segment must be closed, if there is one.
func (a *Archiver) due() *partition {
	var largest *partition
	for _, p := range a.parts {
		if p.open == nil {
			continue
		}
		if p.open.raw >= segmentBytes || time.Since(p.open.began) >= a.cfg.Every {
			return p
		}
		if largest == nil || p.open.raw > largest.open.raw {
			largest = p
		}
	}
	if a.open >= openBytes {
		return largest
	}
	return nil
}

// writeOpen writes all segments that are open.
func (a *Archiver) writeOpen(ctx context.Context) error {
	for _, p := range a.parts {
		if p.open != nil {
			if err := a.write(ctx, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// write closes the segment of a partition and writes it, once it is known that
// its records are those of the topic that it names.
func (a *Archiver) write(ctx context.Context, p *partition) error {
	if p.open.segment.Last > p.confirmed {
		if err := a.confirm(ctx); err != nil {
			return err
		}
	}
	if p.open == nil || p.open.segment.Last > p.confirmed {
		return nil // taken away meanwhile, or more has come: the next time
	}
	return a.upload(ctx, a.detach(p), a.hold)
}

// detach takes the open segment out of a partition.
func (a *Archiver) detach(p *partition) *builder {
	b := p.open
	p.open = nil
	a.open -= b.raw
	return b
}

// persist calls f, once or until it succeeds.
type persist func(ctx context.Context, f func(context.Context) error) error

func once(ctx context.Context, f func(context.Context) error) error { return f(ctx) }

// upload writes a segment, and then commits the offset.
func (a *Archiver) upload(ctx context.Context, b *builder, try persist) error {
	content := b.close()
	s, began := b.segment, time.Now()
	about := []any{"topic", s.Topic, "partition", s.Number, "offsets", fmt.Sprintf("%d-%d", s.First, s.Last)}
	err := try(ctx, func(ctx context.Context) error { return a.cfg.Archive.put(ctx, s.Name(), content) })
	if err != nil {
		a.log.Warn("segment not written, its records are left for another time", append(about, "err", err)...)
		return err
	}
	a.log.Info("segment written", append(about, "records", b.records, "spans", b.spans, "bytes", s.Bytes, "took", time.Since(began))...)
	a.commit(kafka.TopicPartition{Topic: &s.Topic, Partition: s.Number, Offset: kafka.Offset(s.Last + 1)})
	return nil
}

// commit lets the offsets of the group follow the archive, in the background, for
// those who watch its lag. Nothing else depends on them.
func (a *Archiver) commit(offsets ...kafka.TopicPartition) {
	if _, err := a.client.StoreOffsets(offsets); err != nil {
		a.log.Debug("could not store offsets of partitions that are not ours now", "topic", a.cfg.Topic, "err", err)
	}
}

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

// hold calls f until it succeeds or ctx ends. While that takes long nothing is
// read, but polling goes on, so that the partitions stay ours.
func (a *Archiver) hold(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- a.insist(ctx, f) }()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
	}
	defer a.resume(a.pause())
	for {
		select {
		case err := <-done:
			return err
		default:
		}
		a.take(a.client.Poll(int(pollTimeout.Milliseconds())))
		if a.fatal != nil {
			cancel()
			return errors.Join(<-done, a.fatal)
		}
	}
}

// insist calls f until it succeeds or ctx ends. It logs when that begins to fail
// and when it is over.
func (a *Archiver) insist(ctx context.Context, f func(context.Context) error) error {
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval, waits.MaxInterval = firstWait, maxWait
	var failing time.Time
	_, err := backoff.Retry(ctx, func() (struct{}, error) { return struct{}{}, f(ctx) },
		backoff.WithBackOff(waits), backoff.WithMaxElapsedTime(0), backoff.WithNotify(func(err error, _ time.Duration) {
			if failing.IsZero() {
				failing = time.Now()
				a.log.Warn("archiving is on hold, nothing is skipped", "topic", a.cfg.Topic, "err", err)
			}
		}))
	if err == nil && !failing.IsZero() {
		a.log.Info("archiving goes on", "topic", a.cfg.Topic, "took", time.Since(failing))
	}
	return err
}

// pause stops reading, and returns what it has paused.
func (a *Archiver) pause() []kafka.TopicPartition {
	assigned, err := a.client.Assignment()
	if err == nil {
		err = a.client.Pause(assigned)
	}
	a.log.Debug("reading is paused", "topic", a.cfg.Topic, "err", err)
	return assigned
}

func (a *Archiver) resume(partitions []kafka.TopicPartition) {
	if err := a.client.Resume(partitions); err != nil {
		a.log.Debug("could not resume", "topic", a.cfg.Topic, "err", err)
	}
}
