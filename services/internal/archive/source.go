package archive

import (
	"context"
	"fmt"
	"time"

	"fault-tolerant-tracing/services/internal/replay"
)

// source is the records of a topic and a time.
type source struct {
	archive  *Archive
	topic    string
	from, to time.Time
}

// Source returns the records of a topic with a timestamp from from up to but not
// including to (the zero time: no end), those of former topics of the name too.
// It reads one segment
// after the other, and yields none of a segment's records before all of it has
// been checked; at one that is broken it ends with an error that names it.
func (a *Archive) Source(topic string, from, to time.Time) replay.Source {
	return &source{a, topic, from, to}
}

// segments lists those with records of the time.
func (s *source) segments(ctx context.Context) ([]Segment, error) {
	found, err := s.archive.list(ctx, s.topic+"/")
	if err != nil {
		return nil, err
	}
	if len(found.segments) == 0 {
		return nil, fmt.Errorf("archive %s: no segments of topic %s", s.archive.url, s.topic)
	}
	var wanted []Segment
	for _, segment := range found.segments {
		if !segment.To.Before(s.from) && s.beforeEnd(segment.From) {
			wanted = append(wanted, segment)
		}
	}
	return wanted, nil
}

// Total counts by the names alone, and so a segment counts as a whole.
func (s *source) Total(ctx context.Context) (int64, error) {
	segments, err := s.segments(ctx)
	total := int64(0)
	var had cursor
	for _, segment := range segments {
		first := max(segment.First, had.next(segment.Partition))
		total += max(0, segment.Last+1-first)
		had.advance(segment.Partition, segment.Last)
	}
	return total, err
}

func (s *source) Read(ctx context.Context, yield func(replay.Record) error) error {
	segments, err := s.segments(ctx)
	if err != nil {
		return err
	}
	var had cursor
	for _, segment := range segments {
		next := had.next(segment.Partition)
		if segment.Last < next {
			continue
		}
		records, err := s.archive.read(ctx, segment)
		if err != nil {
			return err
		}
		for _, r := range records {
			at := r.Time()
			if r.Offset < next || at.Before(s.from) || !s.beforeEnd(at) {
				continue
			}
			err := yield(replay.Record{Partition: segment.Number, Offset: r.Offset, Time: at, Key: r.Key, Value: r.Value})
			if err != nil {
				return err
			}
		}
		had.advance(segment.Partition, segment.Last)
	}
	return nil
}

func (s *source) beforeEnd(t time.Time) bool { return s.to.IsZero() || t.Before(s.to) }

// cursor walks over the segments of one partition after the other, and knows
// which offsets have been had. The zero value is before the first.
type cursor struct {
	at    Partition
	after int64
}

// next returns the offset behind the last one that was had of a partition.
func (c *cursor) next(p Partition) int64 {
	if c.at != p {
		return 0
	}
	return c.after
}

func (c *cursor) advance(p Partition, last int64) {
	c.after = max(c.next(p), last+1)
	c.at = p
}
