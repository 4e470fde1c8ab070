package archive

import (
	"bytes"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ugorji/go/codec"
)

// frameBytes is how much is compressed at a time, as one frame of zstd.
const frameBytes = 1 << 20

// builder makes the content of one segment, and compresses while records come.
type builder struct {
	segment Segment
	began   time.Time // when it got its first record
	records int
	raw     int // bytes before compression

	zstd   *zstd.Encoder
	chunk  bytes.Buffer   // not yet compressed
	array  *codec.Encoder // writes to chunk
	frames []byte
}

func newBuilder(p Partition, z *zstd.Encoder) *builder {
	b := &builder{segment: Segment{Partition: p}, began: time.Now(), zstd: z}
	b.array = codec.NewEncoder(&b.chunk, asArray)
	b.encodeMap(head{format, p.Topic, p.TopicID, p.Number})
	return b
}

// add appends a record, whose offset is above those before.
func (b *builder) add(r Record) {
	s, at := &b.segment, r.Time()
	if b.records == 0 {
		s.First, s.From, s.To = r.Offset, at, at
	}
	s.Last = r.Offset
	if at.Before(s.From) {
		s.From = at
	}
	if at.After(s.To) {
		s.To = at
	}
	b.records++
	before := b.chunk.Len()
	b.array.MustEncode(r) // it has nothing that could fail
	b.raw += b.chunk.Len() - before
	if b.chunk.Len() >= frameBytes {
		b.compress()
	}
}

func (b *builder) encodeMap(item any) { codec.NewEncoder(&b.chunk, asMap).MustEncode(item) }

func (b *builder) compress() {
	b.frames = b.zstd.EncodeAll(b.chunk.Bytes(), b.frames)
	b.chunk.Reset()
}

// close returns the whole content. Nothing may be added after it.
func (b *builder) close() []byte {
	b.encodeMap(end{b.records})
	b.compress()
	b.frames = seal(b.frames)
	b.segment.Bytes = int64(len(b.frames))
	return b.frames
}

// upTo returns a builder with the records up to an offset only; nil: there are
// none. b is used up by it.
func (b *builder) upTo(last int64) (*builder, error) {
	if b.segment.Last <= last {
		return b, nil
	}
	content := b.close() // first: it completes the segment
	records, err := decode(b.segment, content)
	if err != nil {
		return nil, err
	}
	shorter := newBuilder(b.segment.Partition, b.zstd)
	for _, r := range records {
		if r.Offset > last {
			break
		}
		shorter.add(r)
	}
	if shorter.records == 0 {
		return nil, nil
	}
	return shorter, nil
}
