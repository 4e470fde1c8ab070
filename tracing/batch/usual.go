package batch

import (
	"encoding/binary"

	"github.com/uber/jaeger-client-go/thrift"
)

// The functions of this file pass over structs as the Jaeger clients write them:
// known fields only, each once, in the order of jaeger.thrift. They are six times
// as fast as the walker, and know nothing else: they return the offset behind the
// struct at pos, or 0 if it is any different, malformed or cut off. Then the walker
// has the word. What they accept, it accepts with the same end.

// A head is the type and id of a field, three bytes on the wire.
const (
	boolHead   = thrift.BOOL << 16
	doubleHead = thrift.DOUBLE << 16
	i32Head    = thrift.I32 << 16
	i64Head    = thrift.I64 << 16
	stringHead = thrift.STRING << 16
	listHead   = thrift.LIST << 16

	i32Field    = fieldHeader + 4
	i64Field    = fieldHeader + i64
	stringField = fieldHeader + stringHeader // what is before the string itself
	listField   = fieldHeader + listHeader
)

func usualSpan(b []byte, pos int) int {
	const ids = 4 * i64Field // of the trace, the span and its parent
	if len(b)-pos < ids+stringField {
		return 0
	}
	s := b[pos : pos+ids+stringField]
	if head(s, 0) != i64Head|1 || head(s, i64Field) != i64Head|2 || head(s, 2*i64Field) != i64Head|3 || head(s, 3*i64Field) != i64Head|4 {
		return 0
	}
	if pos = usualString(b, pos+ids, 5); pos == 0 {
		return 0
	}
	if pos = usualList(b, pos, 6, usualRef); pos == 0 {
		return 0
	}
	const times = i32Field + 2*i64Field // flags, start and duration
	if len(b)-pos < times {
		return 0
	}
	s = b[pos : pos+times]
	if head(s, 0) != i32Head|7 || head(s, i32Field) != i64Head|8 || head(s, i32Field+i64Field) != i64Head|9 {
		return 0
	}
	if pos = usualList(b, pos+times, 10, usualTag); pos == 0 {
		return 0
	}
	if pos = usualList(b, pos, 11, usualLog); pos == 0 {
		return 0
	}
	return usualStop(b, pos)
}

func usualTag(b []byte, pos int) int {
	if pos = usualString(b, pos, 1); pos == 0 || len(b)-pos < i32Field+fieldHeader+1 || head(b, pos) != i32Head|2 {
		return 0
	}
	pos += i32Field
	switch head(b, pos) {
	case stringHead | 3:
		pos = usualString(b, pos, 3)
	case doubleHead | 4, i64Head | 6:
		pos += i64Field
	case boolHead | 5:
		pos += fieldHeader + 1
	case stringHead | 7:
		pos = usualString(b, pos, 7)
	}
	if pos == 0 {
		return 0
	}
	return usualStop(b, pos)
}

func usualLog(b []byte, pos int) int {
	if len(b)-pos < i64Field || head(b, pos) != i64Head|1 {
		return 0
	}
	end := usualList(b, pos+i64Field, 2, usualTag)
	if end == pos+i64Field || end == 0 {
		return 0
	}
	return usualStop(b, end)
}

func usualRef(b []byte, pos int) int {
	const size = i32Field + 3*i64Field
	if len(b)-pos < size {
		return 0
	}
	s := b[pos : pos+size]
	if head(s, 0) != i32Head|1 || head(s, i32Field) != i64Head|2 || head(s, i32Field+i64Field) != i64Head|3 || head(s, i32Field+2*i64Field) != i64Head|4 {
		return 0
	}
	return usualStop(b, pos+size)
}

// usualList passes over a list, or over nothing if the next field is another.
func usualList(b []byte, pos int, id uint32, elem func([]byte, int) int) int {
	if len(b)-pos < listField || head(b, pos) != listHead|id {
		return pos
	}
	count := binary.BigEndian.Uint32(b[pos+listField-4:])
	pos += listField
	for range count {
		if pos = elem(b, pos); pos == 0 {
			return 0
		}
	}
	return pos
}

func usualString(b []byte, pos int, id uint32) int {
	if len(b)-pos < stringField || head(b, pos) != stringHead|id {
		return 0
	}
	n := int(int32(binary.BigEndian.Uint32(b[pos+fieldHeader:])))
	pos += stringField
	if uint(n) > uint(len(b)-pos) { // negative ones too
		return 0
	}
	return pos + n
}

func usualStop(b []byte, pos int) int {
	if pos >= len(b) || b[pos] != thrift.STOP {
		return 0
	}
	return pos + stop
}

func head(b []byte, pos int) uint32 {
	return binary.BigEndian.Uint32(b[pos:]) >> 8
}
