package replay

import (
	"fault-tolerant-tracing/tracing/batch"
)

// One post carries at most so much, unless a single record has more. Posts of 500
// spans carry about five times as many spans a second as posts of 9.
const (
	postSpans = 500
	postBytes = 1 << 20

	waitingBytes = 16 << 20 // of all records that wait for others of their process
)

// bundle is the records of one process that travel together.
type bundle struct {
	items        []item
	spans, bytes int
}

func (b *bundle) add(i item) {
	b.items = append(b.items, i)
	b.spans += i.frame.Spans()
	b.bytes += len(i.value)
}

func (b *bundle) hasRoom(i item) bool {
	return b.spans+i.frame.Spans() <= postSpans && b.bytes+len(i.value) <= postBytes
}

// merged returns the bundle as one batch; false if it cannot be.
func (b *bundle) merged() ([]byte, bool) {
	if len(b.items) < 2 {
		return nil, false
	}
	frames := make([]batch.Frame, len(b.items))
	for i, item := range b.items {
		frames[i] = item.frame
	}
	return batch.Merge(nil, frames...)
}

// bundler collects records by process. It is for one goroutine.
type bundler struct {
	waiting map[string]*bundle // by the process's bytes
	bytes   int
}

// add takes a record in, and returns the bundles that are to be sent now.
func (b *bundler) add(i item) []*bundle {
	if !i.isBatch {
		return []*bundle{{items: []item{i}, bytes: len(i.value)}}
	}
	var full []*bundle
	process := i.frame.Process()
	waiting := b.waiting[string(process)]
	if waiting != nil && !waiting.hasRoom(i) {
		full = append(full, waiting)
		b.bytes -= waiting.bytes
		waiting = nil
	}
	if waiting == nil {
		waiting = &bundle{}
		b.waiting[string(process)] = waiting
	}
	waiting.add(i)
	b.bytes += len(i.value)
	if b.bytes > waitingBytes {
		full = append(full, b.rest()...)
	}
	return full
}

// rest returns all that wait, which then no longer do.
func (b *bundler) rest() []*bundle {
	var all []*bundle
	for _, waiting := range b.waiting {
		all = append(all, waiting)
	}
	b.waiting, b.bytes = map[string]*bundle{}, 0
	return all
}
