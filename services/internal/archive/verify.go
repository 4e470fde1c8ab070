package archive

import (
	"context"
	"errors"
	"time"

	"fault-tolerant-tracing/services/internal/payload"
)

// Report is what Verify has found.
type Report struct {
	Partitions []*PartitionReport // by topic, id and number
	Broken     []*Problem         // what is no whole segment
	Others     []string           // names of objects that are no segments, such as what a killed archiver left
}

// PartitionReport is what the segments of one partition hold.
type PartitionReport struct {
	Partition
	Segments   int
	Bytes      int64 // as stored
	Records    int64 // each offset counted once
	Spans      int64 // in them
	NotBatches int64 // records that hold no spans
	From, To   time.Time
	First      int64 // offsets
	Last       int64
	Gaps       []Range // offsets between First and Last that the archive does not have
	Overlaps   int64   // records that it has more than once
}

// Range is offsets, both included.
type Range struct{ First, Last int64 }

// Verify reads every segment of every topic and checks it: its name against its
// content, the checksums, the order and the number of its records, and whether
// each value holds spans, as format has it. It returns an error only if the storage
// cannot be read; what is wrong with the segments is in the report.
func (a *Archive) Verify(ctx context.Context, format payload.Setting) (Report, error) {
	found, err := a.list(ctx, "")
	if err != nil {
		return Report{}, err
	}
	report := Report{Broken: found.broken, Others: found.others}
	for _, segment := range found.segments {
		records, err := a.read(ctx, segment)
		if broken := (*Problem)(nil); errors.As(err, &broken) {
			report.Broken = append(report.Broken, broken)
			continue
		}
		if err != nil {
			return Report{}, err
		}
		report.partition(segment).add(segment, records, format)
	}
	return report, nil
}

// partition returns the report of the segment's partition, the last one or a
// new one.
func (r *Report) partition(s Segment) *PartitionReport {
	if n := len(r.Partitions); n > 0 && r.Partitions[n-1].Partition == s.Partition {
		return r.Partitions[n-1]
	}
	p := &PartitionReport{Partition: s.Partition, First: s.First, Last: s.First - 1, From: s.From, To: s.To}
	r.Partitions = append(r.Partitions, p)
	return p
}

func (p *PartitionReport) add(s Segment, records []Record, format payload.Setting) {
	p.Segments++
	p.Bytes += s.Bytes
	if s.From.Before(p.From) {
		p.From = s.From
	}
	if s.To.After(p.To) {
		p.To = s.To
	}
	for _, r := range records {
		if r.Offset <= p.Last {
			p.Overlaps++
			continue
		}
		if r.Offset > p.Last+1 {
			p.Gaps = append(p.Gaps, Range{p.Last + 1, r.Offset - 1})
		}
		p.Last = r.Offset
		p.Records++
		if held, err := format.Parse(r.Value); err == nil {
			p.Spans += int64(held.Len())
		} else {
			p.NotBatches++
		}
	}
}
