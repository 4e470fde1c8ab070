package transcode

import (
	"encoding/binary"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// message writes the wire format of Protocol Buffers.
type message struct{ b []byte }

// Field numbers of KeyValue and AnyValue.
const (
	keyValueKey   = 1
	keyValueValue = 2

	anyString = 1
	anyBool   = 2
	anyInt    = 3
	anyDouble = 4
	anyBytes  = 7
)

// open begins a message within the message, of which the length will probably take so
// many bytes, and returns where it begins.
func (m *message) open(field, guess int) (begin int) {
	m.head(field, protowire.BytesType)
	m.b = append(m.b, "\x00\x00\x00\x00\x00"[:guess]...)
	return len(m.b)
}

// close ends the message that begins there.
func (m *message) close(begin, guess int) {
	length := len(m.b) - begin
	if size := sizeOf(uint64(length)); size > guess {
		m.b = append(m.b, "\x00\x00\x00\x00\x00"[:size-guess]...)
		copy(m.b[begin+size-guess:], m.b[begin:begin+length])
	} else if size < guess {
		m.b = slices.Delete(m.b, begin-guess+size, begin)
	}
	protowire.AppendVarint(m.b[:begin-guess], uint64(length))
}

func (m *message) head(field int, typ protowire.Type) {
	m.b = append(m.b, byte(field<<3)|byte(typ)) // for fields up to 15
}

// id writes a trace's or span's id.
func (m *message) id(field int, words ...int64) {
	m.head(field, protowire.BytesType)
	m.b = append(m.b, byte(len(words)*8))
	for _, word := range words {
		m.b = binary.BigEndian.AppendUint64(m.b, uint64(word))
	}
}

// text writes a text unless it is empty.
func (m *message) text(field int, value []byte) {
	if len(value) > 0 {
		m.bytes(field, value)
	}
}

func (m *message) bytes(field int, value []byte) {
	m.head(field, protowire.BytesType)
	m.b = protowire.AppendVarint(m.b, uint64(len(value)))
	m.b = append(m.b, value...)
}

// varint writes a number unless it is 0.
func (m *message) varint(field int, value uint64) {
	if value != 0 {
		m.number(field, value)
	}
}

func (m *message) number(field int, value uint64) {
	m.head(field, protowire.VarintType)
	m.b = protowire.AppendVarint(m.b, value)
}

// fixed64 writes a number unless it is 0.
func (m *message) fixed64(field int, value uint64) {
	if value != 0 {
		m.double(field, value)
	}
}

// double writes the bits of a double.
func (m *message) double(field int, bits uint64) {
	m.head(field, protowire.Fixed64Type)
	m.b = protowire.AppendFixed64(m.b, bits)
}

// flags writes the flags of a span unless they are 0.
func (m *message) flags(value uint32) {
	if value != 0 {
		m.b = protowire.AppendTag(m.b, spanFlags, protowire.Fixed32Type)
		m.b = protowire.AppendFixed32(m.b, value)
	}
}

// keyValue writes what stands before a value of so many bytes.
func (m *message) keyValue(field int, key []byte, size int) {
	m.head(field, protowire.BytesType)
	m.b = protowire.AppendVarint(m.b, uint64(1+sized(len(key))+1+sized(size)))
	m.bytes(keyValueKey, key)
	m.head(keyValueValue, protowire.BytesType)
	m.b = protowire.AppendVarint(m.b, uint64(size))
}

// sized is how many bytes something takes with its length before it.
func sized(n int) int { return sizeOf(uint64(n)) + n }

func sizeOf(n uint64) int { return protowire.SizeVarint(n) }
