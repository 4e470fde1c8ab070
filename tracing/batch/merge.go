package batch

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"

	"github.com/uber/jaeger-client-go/thrift"
)

// Merge appends to dst one batch with the process that the frames have in common
// and the spans of all, in order, each as it is. Sequence numbers and stats belong
// to the single batches and are left out. It returns false, and dst as it was, if
// the frames cannot be merged: there is none, their processes differ by a byte, or
// one of them holds what a merge would drop (unknown fields beside process and
// spans, or one of those twice). dst must not share memory with the frames.
func Merge(dst []byte, frames ...Frame) ([]byte, bool) {
	count, size, ok := mergeable(frames)
	if !ok {
		return dst, false
	}
	process := frames[0].Process()
	dst = slices.Grow(dst, fieldHeader+len(process)+fieldHeader+listHeader+size+stop)
	dst = append(appendField(dst, thrift.STRUCT, fieldProcess), process...)
	dst = appendSpanList(appendField(dst, thrift.LIST, fieldSpans), count)
	for _, f := range frames {
		dst = append(dst, f.spans()...)
	}
	return append(dst, thrift.STOP), true
}

// mergeable returns the number of all spans and their size in bytes.
func mergeable(frames []Frame) (count, size int, ok bool) {
	for _, f := range frames {
		if f.value == nil || f.odd || !bytes.Equal(f.Process(), frames[0].Process()) {
			return 0, 0, false
		}
		count += f.count
		size += len(f.spans())
	}
	return count, size, len(frames) > 0 && count <= math.MaxInt32
}

// Select returns the batch with only the spans that keep wants, and their number;
// process, sequence number, stats and unknown fields stay. If it wants none, value
// is nil. keep is called once for each span, in order, with the two halves of its
// trace's id.
func (f Frame) Select(keep func(traceHigh, traceLow int64) bool) (value []byte, spans int) {
	w := walker{b: f.value, pos: f.list + listHeader}
	for range f.count {
		start := w.pos
		var at fields
		_ = w.fields(spanShape, &at) // Parse has walked here before
		if !keep(f.i64(at.start[fieldTraceIDHigh]), f.i64(at.start[fieldTraceIDLow])) {
			continue
		}
		if spans == 0 {
			value = append(make([]byte, 0, len(f.value)), f.value[:f.list+listHeader]...)
		}
		value = append(value, f.value[start:w.pos]...)
		spans++
	}
	if spans == 0 {
		return nil, 0
	}
	binary.BigEndian.PutUint32(value[f.list+1:], uint32(spans))
	return append(value, f.value[f.end:]...), spans
}
