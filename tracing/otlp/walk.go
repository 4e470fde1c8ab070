package otlp

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// maxDepth is how deep values of attributes may be nested, as in Protocol Buffers for
// Java, which stops first.
const maxDepth = 100

// shape describes a message: its fields by number.
type shape struct {
	name   string
	fields []field
}

type field struct {
	typ     protowire.Type
	known   bool
	message *shape
	id      int // 0, or the length of the id that the field is if it is not empty
}

var (
	number  = field{typ: protowire.VarintType, known: true}
	fixed32 = field{typ: protowire.Fixed32Type, known: true}
	fixed64 = field{typ: protowire.Fixed64Type, known: true}
	bytes   = field{typ: protowire.BytesType, known: true}
	traceID = field{typ: protowire.BytesType, known: true, id: 16}
	spanID  = field{typ: protowire.BytesType, known: true, id: 8}
	none    field
)

func message(s *shape) field { return field{typ: protowire.BytesType, known: true, message: s} }

// The messages of opentelemetry/proto, version 1.11, from the innermost outwards. What
// will be added later is unknown, and passed over.
var (
	anyShape      = &shape{name: "attribute value"}
	keyValueShape = newShape("attribute", bytes, message(anyShape), number)
	resourceShape = newShape("resource", message(keyValueShape), number, message(entityShape))
	entityShape   = newShape("entity reference", bytes, bytes, bytes, bytes)
	scopeShape    = newShape("scope", bytes, bytes, message(keyValueShape), number)
	eventShape    = newShape("event", fixed64, bytes, message(keyValueShape), number)
	linkShape     = newShape("link", traceID, spanID, bytes, message(keyValueShape), number, fixed32)
	statusShape   = newShape("status", none, bytes, number)
	spanShape     = newShape("span", traceID, spanID, bytes, spanID, bytes, number, fixed64, fixed64, message(keyValueShape), number,
		message(eventShape), number, message(linkShape), number, message(statusShape), fixed32)
	scopeSpansShape    = newShape("scope spans", message(scopeShape), message(spanShape), bytes)
	resourceSpansShape = newShape("resource spans", message(resourceShape), message(scopeSpansShape), bytes)
	requestShape       = newShape("request", message(resourceSpansShape))
)

func init() { // a value holds values
	arrayShape, mapShape := newShape("array", message(anyShape)), newShape("map", message(keyValueShape))
	*anyShape = *newShape("attribute value", bytes, number, number, fixed64, message(arrayShape), message(mapShape), bytes, number)
}

func newShape(name string, fields ...field) *shape {
	return &shape{name: name, fields: append([]field{none}, fields...)} // numbers start at 1
}

// walker passes over the wire format of Protocol Buffers without decoding it.
type walker struct {
	b     []byte
	pos   int
	spans int
}

// message passes over the fields of a message that ends at an offset.
func (w *walker) message(end int, s *shape, depth int) error {
	if depth > maxDepth {
		return w.errorf("nested too deep")
	}
	for w.pos < end {
		tag, err := w.varint(end)
		if err != nil {
			return err
		}
		n, typ := tag>>3, protowire.Type(tag&7)
		if n == 0 || n > uint64(protowire.MaxValidNumber) {
			return w.errorf("a field with number %d in a %s", n, s.name)
		}
		var f field
		if n < uint64(len(s.fields)) {
			f = s.fields[n]
		}
		if f.known && typ != f.typ {
			return w.errorf("field %d of a %s has type %d instead of %d", n, s.name, typ, f.typ)
		}
		if err := w.value(end, n, typ, f, s, depth); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) value(end int, n uint64, typ protowire.Type, f field, s *shape, depth int) error {
	switch typ {
	case protowire.VarintType:
		_, err := w.varint(end)
		return err
	case protowire.Fixed32Type:
		return w.advance(4, end)
	case protowire.Fixed64Type:
		return w.advance(8, end)
	case protowire.BytesType:
		size, err := w.varint(end)
		if err != nil {
			return err
		}
		if size > uint64(end-w.pos) {
			return w.errorf("a length of %d with %d bytes left", size, end-w.pos)
		}
		if f.id != 0 && size != 0 && size != uint64(f.id) {
			return w.errorf("an id of %d bytes instead of %d in a %s", size, f.id, s.name)
		}
		if f.message == nil {
			w.pos += int(size)
			return nil
		}
		if f.message == spanShape {
			w.spans++
		}
		return w.message(w.pos+int(size), f.message, depth+1)
	case protowire.StartGroupType:
		size := protowire.ConsumeFieldValue(protowire.Number(n), typ, w.b[w.pos:end])
		if size < 0 {
			return w.errorf("%v", protowire.ParseError(size))
		}
		w.pos += size
		return nil
	}
	return w.errorf("a field of type %d in a %s", typ, s.name)
}

func (w *walker) varint(end int) (uint64, error) {
	if w.pos < end && w.b[w.pos] < 0x80 {
		w.pos++
		return uint64(w.b[w.pos-1]), nil
	}
	v, size := protowire.ConsumeVarint(w.b[w.pos:end])
	if size < 0 {
		return 0, w.errorf("%v", protowire.ParseError(size))
	}
	w.pos += size
	return v, nil
}

func (w *walker) advance(n, end int) error {
	if n > end-w.pos {
		return w.errorf("the bytes end too early")
	}
	w.pos += n
	return nil
}

func (w *walker) errorf(format string, args ...any) error {
	return fmt.Errorf("no OTLP request, byte %d: "+format, append([]any{w.pos}, args...)...)
}
