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
type walker struct{ spans int }

// message passes over the fields of a message that begins at an offset and ends where b
// does.
func (w *walker) message(b []byte, at int, s *shape, depth int) error {
	if depth > maxDepth {
		return errorf(at, "nested too deep")
	}
	for at < len(b) {
		tag, size := uint64(b[at]), 1
		if tag >= 0x80 {
			if tag, size = protowire.ConsumeVarint(b[at:]); size < 0 {
				return errorf(at, "%v", protowire.ParseError(size))
			}
		}
		at += size
		n, typ, f := tag>>3, protowire.Type(tag&7), &none
		if n < uint64(len(s.fields)) {
			f = &s.fields[n]
		}
		switch {
		case n == 0 || n > uint64(protowire.MaxValidNumber):
			return errorf(at, "a field with number %d in a %s", n, s.name)
		case f.known && typ != f.typ:
			return errorf(at, "field %d of a %s has type %d instead of %d", n, s.name, typ, f.typ)
		case typ == protowire.StartGroupType:
			return errorf(at, "a group in a %s, which proto3 does not have", s.name)
		case typ != protowire.BytesType:
			if size = protowire.ConsumeFieldValue(protowire.Number(n), typ, b[at:]); size < 0 {
				return errorf(at, "%v", protowire.ParseError(size))
			}
			at += size
			continue
		}
		var length uint64
		if at < len(b) && b[at] < 0x80 {
			length, size = uint64(b[at]), 1
		} else if length, size = protowire.ConsumeVarint(b[at:]); size < 0 {
			return errorf(at, "%v", protowire.ParseError(size))
		}
		at += size
		end := at + int(length)
		switch {
		case length > uint64(len(b)-at):
			return errorf(at, "a length of %d with %d bytes left", length, len(b)-at)
		case f.id != 0 && length != 0 && length != uint64(f.id):
			return errorf(at, "an id of %d bytes instead of %d in a %s", length, f.id, s.name)
		case f.message == nil:
			at = end
			continue
		case f.message == spanShape:
			w.spans++
		}
		if err := w.message(b[:end], at, f.message, depth+1); err != nil {
			return err
		}
		at = end
	}
	return nil
}

func errorf(at int, format string, args ...any) error {
	return fmt.Errorf("no OTLP request, byte %d: "+format, append([]any{at}, args...)...)
}
