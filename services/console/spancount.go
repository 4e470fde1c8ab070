package main

import "sync"

// maxMarks is how many records of a partition are told apart. Of more, each second one is forgotten: what waits is then less exact.
const maxMarks = 10_000

// spanCount counts the spans on tracing-topic and those before what the relay has committed. It is safe for several goroutines.
type spanCount struct {
	mu         sync.Mutex
	partitions map[int32]*partitionCount
}

type partitionCount struct {
	next      int64  // offset behind the last record
	written   int64  // spans before it
	delivered int64  // of these, before what is committed
	marks     []mark // of the records that are not committed
}

// mark tells how many spans there are before an offset.
type mark struct{ offset, spans int64 }

func newSpanCount() *spanCount { return &spanCount{partitions: map[int32]*partitionCount{}} }

// read takes in a record with so many spans.
func (c *spanCount) read(partition int32, offset int64, spans int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.partitions[partition]
	if p == nil || offset < p.next { // the topic was made anew
		p = new(partitionCount)
		c.partitions[partition] = p
	}
	p.next, p.written = offset+1, p.written+int64(spans)
	p.marks = append(p.marks, mark{p.next, p.written})
	if len(p.marks) > maxMarks {
		for i := 1; i < len(p.marks); i += 2 {
			p.marks[i/2] = p.marks[i]
		}
		p.marks = p.marks[:len(p.marks)/2]
	}
}

// commit takes in what is committed.
func (c *spanCount) commit(partition int32, offset int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.partitions[partition]
	for p != nil && len(p.marks) > 0 && p.marks[0].offset <= offset {
		p.delivered = p.marks[0].spans
		p.marks = p.marks[1:]
	}
}

func (c *spanCount) totals() (written, delivered int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.partitions {
		written += p.written
		delivered += p.delivered
	}
	return written, delivered
}
