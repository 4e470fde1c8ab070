package batch

import (
	"context"
	"encoding/binary"

	"github.com/uber/jaeger-client-go/thrift"
	"github.com/uber/jaeger-client-go/thrift-gen/jaeger"
)

// Frame is the structure of a batch: where its fields and spans are, and how many
// spans. It keeps the bytes it was parsed from, which must not change; it is safe for
// several goroutines. The zero Frame is no batch.
type Frame struct {
	value              []byte
	process, processTo int // offsets of the process
	list, end          int // offsets of the list of spans, its header included
	count              int // spans
	seqNo, stats       int // offsets, 0: there is none
}

// Parse checks that value is one whole Batch and nothing else, with every required
// field down to the tags of its spans, and finds its spans. Unknown fields are
// passed over, as every Thrift reader does. The time taken is linear in
// len(value), whatever sizes value claims; nothing is allocated but the error,
// which names the offset at which the bytes stop being a Batch.
func Parse(value []byte) (Frame, error) {
	w := walker{b: value}
	var at fields
	if err := w.fields(batchShape, &at); err != nil {
		return Frame{}, err
	}
	if w.pos != len(value) {
		return Frame{}, w.errorf("%d bytes behind the end of the batch", len(value)-w.pos)
	}
	list := at.start[fieldSpans]
	return Frame{
		value:   value,
		process: at.start[fieldProcess], processTo: at.end[fieldProcess],
		list: list, end: at.end[fieldSpans],
		count: int(binary.BigEndian.Uint32(value[list+1:])),
		seqNo: at.start[fieldSeqNo], stats: at.start[fieldStats],
	}, nil
}

// Bytes returns what was parsed, the whole batch; nil for the zero Frame. It is not
// a copy.
func (f Frame) Bytes() []byte { return f.value }

// Spans returns the number of spans.
func (f Frame) Spans() int { return f.count }

// Process returns the serialized process, a part of the bytes that were parsed:
// equal bytes, same process.
func (f Frame) Process() []byte { return f.value[f.process:f.processTo:f.processTo] }

// Service returns the name of the service, "" for the zero Frame.
func (f Frame) Service() string {
	at, ok := f.fieldsAt(f.process, processShape)
	if !ok {
		return ""
	}
	return string(f.value[at.start[fieldServiceName]+stringHeader : at.end[fieldServiceName]])
}

// SeqNo returns the batch's sequence number; false: it has none.
func (f Frame) SeqNo() (int64, bool) {
	if f.seqNo == 0 {
		return 0, false
	}
	return f.i64(f.seqNo), true
}

// Stats returns what the process says it has lost so far; false: it says nothing.
func (f Frame) Stats() (Stats, bool) {
	at, ok := f.fieldsAt(f.stats, statsShape)
	if !ok {
		return Stats{}, false
	}
	return Stats{
		FullQueueDropped: f.i64(at.start[fieldFullQueueDropped]),
		TooLargeDropped:  f.i64(at.start[fieldTooLargeDropped]),
		FailedToEmit:     f.i64(at.start[fieldFailedToEmit]),
	}, true
}

// fieldsAt finds the fields of the struct at an offset; false if that is 0.
func (f Frame) fieldsAt(offset int, s *shape) (at fields, ok bool) {
	if offset == 0 {
		return at, false
	}
	w := walker{b: f.value, pos: offset}
	_ = w.fields(s, &at) // Parse has walked here before
	return at, true
}

func (f Frame) i64(offset int) int64 {
	return int64(binary.BigEndian.Uint64(f.value[offset:]))
}

// Slice returns a batch with the spans from the one included to the other excluded,
// counted from 0, and everything else (process, sequence number, stats, unknown fields)
// alike. The time it takes is linear in the spans before to.
func (f Frame) Slice(from, to int) []byte {
	w := walker{b: f.value, pos: f.list + listHeader}
	begin := w.pos
	for i := range to {
		if i == from {
			begin = w.pos
		}
		_ = w.object(spanShape) // Parse has walked here before
	}
	if from == to {
		begin = w.pos
	}
	return f.with(to-from, f.value[begin:w.pos])
}

// with returns the batch with other spans.
func (f Frame) with(count int, spans []byte) []byte {
	b := make([]byte, 0, len(f.value)-(f.end-f.list)+listHeader+len(spans))
	b = appendSpanList(append(b, f.value[:f.list]...), count)
	return append(append(b, spans...), f.value[f.end:]...)
}

// Decode returns the batch that value holds. It fails where Parse fails: if a
// required field is missing, if the bytes end too early, and if some are left.
func Decode(value []byte) (*jaeger.Batch, error) {
	// The Thrift library allocates whatever size a list claims; Parse has checked them.
	if _, err := Parse(value); err != nil {
		return nil, err
	}
	buf := thrift.NewTMemoryBufferLen(len(value))
	buf.Write(value)
	b := jaeger.NewBatch()
	if err := b.Read(context.Background(), thrift.NewTBinaryProtocolConf(buf, nil)); err != nil {
		return nil, err
	}
	return b, nil
}
