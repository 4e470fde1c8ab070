package batch

import "encoding/binary"

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
