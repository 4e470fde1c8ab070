package batch

import (
	"context"

	"github.com/uber/jaeger-client-go/thrift"
	"github.com/uber/jaeger-client-go/thrift-gen/jaeger"
)

// Frame is the structure of a batch: where its spans are, and how many. It keeps
// the bytes it was parsed from, which must not change.
type Frame struct {
	value []byte
	list  int // offset of the list of spans, its header included
	end   int // offset behind the last span
	count int
}

// Parse checks that value is one whole Batch and nothing else, with every required
// field down to the tags of its spans, and finds its spans. Unknown fields are
// passed over, as every Thrift reader does. The time taken is linear in
// len(value), whatever sizes value claims; nothing is allocated but the error,
// which names the offset at which the bytes stop being a Batch.
func Parse(value []byte) (Frame, error) {
	w := walker{b: value}
	if err := w.object(batchShape); err != nil {
		return Frame{}, err
	}
	if w.pos != len(value) {
		return Frame{}, w.errorf("%d bytes behind the end of the batch", len(value)-w.pos)
	}
	return w.frame, nil
}

// Spans returns the number of spans.
func (f Frame) Spans() int { return f.count }

// Halves returns two batches with half of the spans each, in order, and everything
// else (process, sequence number, stats, unknown fields) alike. A batch of fewer
// than two spans cannot be halved: first then has no span.
func (f Frame) Halves() (first, second []byte) {
	half := f.count / 2
	w := walker{b: f.value, pos: f.list + listHeader}
	for range half {
		_ = w.object(spanShape) // Parse has walked here before
	}
	return f.with(half, f.value[f.list+listHeader:w.pos]), f.with(f.count-half, f.value[w.pos:f.end])
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
