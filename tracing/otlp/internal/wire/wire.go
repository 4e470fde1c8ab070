// Package wire writes the wire format of Protocol Buffers, as far as OTLP needs it, and
// names the fields of OTLP.
package wire

import (
	"encoding/binary"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// Message is a message that grows, with fields up to number 15. It is for one goroutine.
type Message struct{ B []byte }

// Open begins a message within the message, of which the length will probably take so
// many bytes, 5 at most, and returns where it begins.
func (m *Message) Open(field, guess int) (begin int) {
	m.Head(field, protowire.BytesType)
	m.B = append(m.B, "\x00\x00\x00\x00\x00"[:guess]...)
	return len(m.B)
}

// Close ends the message that begins there, with the guess that it was opened with.
func (m *Message) Close(begin, guess int) {
	length := len(m.B) - begin
	if size := SizeOf(uint64(length)); size > guess {
		m.B = append(m.B, "\x00\x00\x00\x00\x00"[:size-guess]...)
		copy(m.B[begin+size-guess:], m.B[begin:begin+length])
	} else if size < guess {
		m.B = slices.Delete(m.B, begin-guess+size, begin)
	}
	protowire.AppendVarint(m.B[:begin-guess], uint64(length))
}

// Head writes the head of a field.
func (m *Message) Head(field int, typ protowire.Type) {
	m.B = append(m.B, byte(field<<3)|byte(typ))
}

// ID writes a trace's or span's id.
func (m *Message) ID(field int, words ...int64) {
	m.Head(field, protowire.BytesType)
	m.B = append(m.B, byte(len(words)*8))
	for _, word := range words {
		m.B = binary.BigEndian.AppendUint64(m.B, uint64(word))
	}
}

// Text writes a text unless it is empty.
func (m *Message) Text(field int, value []byte) {
	if len(value) > 0 {
		m.Bytes(field, value)
	}
}

// Bytes writes a text or bytes, be they empty.
func (m *Message) Bytes(field int, value []byte) {
	b := append(m.B, byte(field<<3)|byte(protowire.BytesType))
	b = AppendVarint(b, uint64(len(value)))
	m.B = append(b, value...)
}

// Varint writes a number unless it is 0.
func (m *Message) Varint(field int, value uint64) {
	if value != 0 {
		m.Number(field, value)
	}
}

// Number writes a number, be it 0.
func (m *Message) Number(field int, value uint64) {
	m.B = AppendVarint(append(m.B, byte(field<<3)), value)
}

// Fixed64 writes a number unless it is 0.
func (m *Message) Fixed64(field int, value uint64) {
	if value != 0 {
		m.Bits(field, value)
	}
}

// Bits writes the bits of a double or a fixed64, be they 0.
func (m *Message) Bits(field int, bits uint64) {
	m.Head(field, protowire.Fixed64Type)
	m.B = protowire.AppendFixed64(m.B, bits)
}

// Raw appends bytes that are a field already.
func (m *Message) Raw(field []byte) { m.B = append(m.B, field...) }

// AppendVarint appends a number.
func AppendVarint(b []byte, v uint64) []byte {
	if v < 0x80 {
		return append(b, byte(v))
	}
	return protowire.AppendVarint(b, v)
}

// Sized is how many bytes something takes with its length before it.
func Sized(n int) int { return SizeOf(uint64(n)) + n }

// SizeOf is how many bytes a number takes.
func SizeOf(n uint64) int { return protowire.SizeVarint(n) }
