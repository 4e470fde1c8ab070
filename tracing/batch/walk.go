package batch

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/uber/jaeger-client-go/thrift"
)

// maxDepth is how deep unknown fields may be nested, as in the Thrift library.
const maxDepth = thrift.DEFAULT_RECURSION_DEPTH

// walker passes over Thrift's binary protocol without decoding it. Every step
// moves at least one byte on, so that claimed sizes cost nothing.
type walker struct {
	b   []byte
	pos int
}

// fields says where the values of a struct's known fields are.
type fields struct {
	seen       uint16             // bit n: field n is there
	start, end [maxFields + 1]int // by id
}

func (f *fields) note(id int16, start, end int) {
	f.seen |= 1 << id
	f.start[id], f.end[id] = start, end
}

// object passes over a struct whose fields are known.
func (w *walker) object(s *shape) error {
	if s.usual != nil {
		if end := s.usual(w.b, w.pos); end != 0 {
			w.pos = end
			return nil
		}
	}
	var at fields
	return w.fields(s, &at)
}

// fields passes over a struct too, and notes where its fields are. As in the
// library's own readers, a field of another type than expected counts as unknown,
// and of a repeated field the last one holds.
func (w *walker) fields(s *shape, at *fields) error {
	for {
		typ, id, err := w.fieldBegin()
		if err != nil {
			return err
		}
		if typ == thrift.STOP {
			break
		}
		start := w.pos
		if id < 1 || int(id) >= len(s.fields) || s.fields[id].typ != typ {
			err = w.skip(typ, maxDepth)
		} else {
			err = w.known(s.fields[id])
			at.note(id, start, w.pos)
		}
		if err != nil {
			return err
		}
	}
	if missing := s.required &^ at.seen; missing != 0 {
		return w.errorf("%s without its required field %d", s.name, bits.TrailingZeros16(missing))
	}
	return nil
}

func (w *walker) known(f field) error {
	switch f.typ {
	case thrift.STRUCT:
		return w.object(f.elem)
	case thrift.LIST:
		return w.list(f.elem)
	}
	return w.skip(f.typ, maxDepth)
}

// list passes over a list of structs. What type the list claims for its elements
// does not matter to the library's readers, and so not here.
func (w *walker) list(elem *shape) error {
	if _, err := w.byte(); err != nil {
		return err
	}
	count, err := w.size()
	if err != nil {
		return err
	}
	for range count {
		if err := w.object(elem); err != nil {
			return err
		}
	}
	return nil
}

// skip passes over a value of which only the type is known.
func (w *walker) skip(typ thrift.TType, depth int) error {
	if depth <= 0 {
		return w.errorf("nested too deep")
	}
	switch typ {
	case thrift.BOOL, thrift.BYTE:
		return w.advance(1)
	case thrift.I16:
		return w.advance(2)
	case thrift.I32:
		return w.advance(4)
	case thrift.I64, thrift.DOUBLE:
		return w.advance(8)
	case thrift.STRING:
		n, err := w.size()
		if err != nil {
			return err
		}
		return w.advance(n)
	case thrift.STRUCT:
		return w.skipStruct(depth)
	case thrift.LIST, thrift.SET:
		return w.skipElements(1, depth)
	case thrift.MAP:
		return w.skipElements(2, depth)
	}
	return w.errorf("unknown type %d", typ)
}

func (w *walker) skipStruct(depth int) error {
	for {
		typ, _, err := w.fieldBegin()
		if err != nil || typ == thrift.STOP {
			return err
		}
		if err := w.skip(typ, depth-1); err != nil {
			return err
		}
	}
}

// skipElements passes over a list or set (one type) or a map (two: key and value).
func (w *walker) skipElements(types, depth int) error {
	var typ [2]thrift.TType
	for i := range types {
		b, err := w.byte()
		if err != nil {
			return err
		}
		typ[i] = thrift.TType(b)
	}
	count, err := w.size()
	if err != nil {
		return err
	}
	for range count {
		for i := range types {
			if err := w.skip(typ[i], depth-1); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *walker) fieldBegin() (typ thrift.TType, id int16, err error) {
	b, err := w.byte()
	if err != nil || b == thrift.STOP {
		return thrift.STOP, 0, err
	}
	if err := w.advance(2); err != nil {
		return 0, 0, err
	}
	return thrift.TType(b), int16(binary.BigEndian.Uint16(w.b[w.pos-2:])), nil
}

// size reads the length of a string or the number of elements of a list. Each
// element takes a byte or more, so that more than there are bytes left cannot be.
func (w *walker) size() (int, error) {
	if err := w.advance(4); err != nil {
		return 0, err
	}
	n := int(int32(binary.BigEndian.Uint32(w.b[w.pos-4:])))
	if n < 0 || n > len(w.b)-w.pos {
		return 0, w.errorf("a size of %d with %d bytes left", n, len(w.b)-w.pos)
	}
	return n, nil
}

func (w *walker) byte() (byte, error) {
	if err := w.advance(1); err != nil {
		return 0, err
	}
	return w.b[w.pos-1], nil
}

func (w *walker) advance(n int) error {
	if n > len(w.b)-w.pos {
		return w.errorf("the bytes end too early")
	}
	w.pos += n
	return nil
}

func (w *walker) errorf(format string, args ...any) error {
	return fmt.Errorf("not a jaeger.thrift batch, byte %d: "+format, append([]any{w.pos}, args...)...)
}
