package archive

import (
	"context"
	"fmt"
	"time"

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
	a.log.Info("segment written", append(about, "records", b.records, "bytes", s.Bytes, "took", time.Since(began))...)
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
