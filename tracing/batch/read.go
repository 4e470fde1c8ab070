package batch

import (
	"encoding/binary"

	"github.com/uber/jaeger-client-go/thrift"
	"github.com/uber/jaeger-client-go/thrift-gen/jaeger"
)

// Span is one span of a batch. Its slices of bytes are parts of the batch; the others
// are used again for the next span.
type Span struct {
	TraceIDHigh, TraceIDLow int64
	SpanID, ParentSpanID    int64
	Operation               []byte
	References              []Reference
	Flags                   int32
	StartTime, Duration     int64 // µs
	Tags                    []Tag
	Logs                    []Log

	lists int // that are there, be they empty
}

// Blank tells whether nothing at all is said of the span.
func (s *Span) Blank() bool {
	return s.TraceIDHigh|s.TraceIDLow|s.SpanID|s.ParentSpanID|s.StartTime|s.Duration|int64(s.Flags) == 0 &&
		len(s.Operation) == 0 && s.lists == 0
}

// Reference is a reference to another span.
type Reference struct {
	Type                            jaeger.SpanRefType
	TraceIDHigh, TraceIDLow, SpanID int64
}

// Log is something that happened during a span.
type Log struct {
	Timestamp int64 // µs
	Fields    []Tag
}

// Tag is a key with a value, which is in the field that its type says: Bytes for STRING
// and BINARY, Num for the others: 0 or 1, the integer, or the bits of the double.
type Tag struct {
	Key   []byte
	Type  jaeger.TagType
	Bytes []byte
	Num   uint64
}

// Reader reads the spans of a batch one after the other. It takes memory only where a
// span has more tags or logs than those before. It is for one goroutine.
type Reader struct {
	Span        // that Next has read
	w    walker // over bytes that Parse has accepted
	left int
	free []Tag // for the fields of logs
}

// Reset begins with the first span of a batch.
func (r *Reader) Reset(f Frame) {
	r.w, r.left = walker{b: f.value, pos: f.list + listHeader}, f.count
}

// Next reads the next span, and reports whether there was one.
func (r *Reader) Next() bool {
	if r.left == 0 {
		return false
	}
	r.left--
	w, s := &r.w, &r.Span
	*s = Span{References: s.References[:0], Tags: s.Tags[:0], Logs: s.Logs[:0]}
	r.free = r.free[:0]
	for {
		switch w.nextHead() {
		case thrift.STOP:
			return true
		case i64Head | 1:
			s.TraceIDLow = w.i64()
		case i64Head | 2:
			s.TraceIDHigh = w.i64()
		case i64Head | 3:
			s.SpanID = w.i64()
		case i64Head | 4:
			s.ParentSpanID = w.i64()
		case stringHead | 5:
			s.Operation = w.string()
		case listHead | 6:
			s.lists |= 1
			s.References = s.References[:0]
			for range w.count() {
				s.References = append(s.References, w.reference())
			}
		case i32Head | 7:
			s.Flags = w.i32()
		case i64Head | 8:
			s.StartTime = w.i64()
		case i64Head | 9:
			s.Duration = w.i64()
		case listHead | 10:
			s.lists |= 2
			s.Tags = w.tags(s.Tags[:0])
		case listHead | 11:
			s.lists |= 4
			s.Logs = s.Logs[:0]
			for range w.count() {
				s.Logs = append(s.Logs, r.log())
			}
		default:
			w.unknown()
		}
	}
}

func (r *Reader) log() (l Log) {
	for {
		switch r.w.nextHead() {
		case thrift.STOP:
			return l
		case i64Head | 1:
			l.Timestamp = r.w.i64()
		case listHead | 2:
			from := len(r.free)
			r.free = r.w.tags(r.free)
			l.Fields = r.free[from:len(r.free):len(r.free)]
		default:
			r.w.unknown()
		}
	}
}

// ReadProcess returns the name of the service, a part of the batch, and appends the tags
// of the process to tags.
func (f Frame) ReadProcess(tags []Tag) (service []byte, all []Tag) {
	w, own := walker{b: f.value, pos: f.process}, len(tags)
	for {
		switch w.nextHead() {
		case thrift.STOP:
			return service, tags
		case stringHead | 1:
			service = w.string()
		case listHead | 2:
			tags = w.tags(tags[:own])
		default:
			w.unknown()
		}
	}
}

// The methods below read what Parse has walked over: they check nothing.

// nextHead moves to the value of the next field of a struct, and returns its type and
// id; [thrift.STOP]: there is none.
func (w *walker) nextHead() uint32 {
	if w.b[w.pos] == thrift.STOP {
		w.pos++
		return thrift.STOP
	}
	h := head(w.b, w.pos)
	w.pos += fieldHeader
	return h
}

// unknown passes over the value whose head was read last.
func (w *walker) unknown() {
	_ = w.skip(thrift.TType(w.b[w.pos-fieldHeader]), maxDepth)
}

func (w *walker) i64() int64 {
	w.pos += i64
	return int64(binary.BigEndian.Uint64(w.b[w.pos-i64:]))
}

func (w *walker) i32() int32 {
	w.pos += 4
	return int32(binary.BigEndian.Uint32(w.b[w.pos-4:]))
}

func (w *walker) string() []byte {
	n := int(w.i32())
	w.pos += n
	return w.b[w.pos-n : w.pos : w.pos]
}

// count reads the header of a list.
func (w *walker) count() int32 {
	w.pos++ // the type of the elements, which nobody minds
	return w.i32()
}

func (w *walker) tags(tags []Tag) []Tag {
	for range w.count() {
		tags = append(tags, Tag{})
		w.tag(&tags[len(tags)-1])
	}
	return tags
}

func (w *walker) tag(t *Tag) {
	var str, binaryValue []byte
	var double, truth, long uint64
	for {
		switch w.nextHead() {
		case thrift.STOP:
			switch t.Type {
			case jaeger.TagType_STRING:
				t.Bytes = str
			case jaeger.TagType_BINARY:
				t.Bytes = binaryValue
			case jaeger.TagType_DOUBLE:
				t.Num = double
			case jaeger.TagType_BOOL:
				t.Num = truth
			case jaeger.TagType_LONG:
				t.Num = long
			}
			return
		case stringHead | 1:
			t.Key = w.string()
		case i32Head | 2:
			t.Type = jaeger.TagType(w.i32())
		case stringHead | 3:
			str = w.string()
		case doubleHead | 4:
			double = uint64(w.i64())
		case boolHead | 5:
			truth = 0
			if w.b[w.pos] == 1 {
				truth = 1
			}
			w.pos++
		case i64Head | 6:
			long = uint64(w.i64())
		case stringHead | 7:
			binaryValue = w.string()
		default:
			w.unknown()
		}
	}
}

func (w *walker) reference() (ref Reference) {
	for {
		switch w.nextHead() {
		case thrift.STOP:
			return ref
		case i32Head | 1:
			ref.Type = jaeger.SpanRefType(w.i32())
		case i64Head | 2:
			ref.TraceIDLow = w.i64()
		case i64Head | 3:
			ref.TraceIDHigh = w.i64()
		case i64Head | 4:
			ref.SpanID = w.i64()
		default:
			w.unknown()
		}
	}
}
