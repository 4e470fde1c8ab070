// Package batch owns the wire format of tracing-topic: a record's value is a
// Batch of jaeger.thrift (a process, its spans, a sequence number, loss counters)
// in Thrift's binary protocol, the bytes that Jaeger's collector accepts as
// application/x-thrift.
//
// Writers serialize each span once (AppendSpan) and assemble a record from the
// bytes (Encode). Carriers look at a record's structure without decoding a span
// (Parse), and can split it, merge it with others and pick the spans of some traces.
// Decode is for people and tests. The package neither sends nor receives anything.
package batch

import (
	"bytes"
	"context"
	"encoding/binary"

	"github.com/uber/jaeger-client-go/thrift"
	"github.com/uber/jaeger-client-go/thrift-gen/jaeger"
)

// Field ids of Batch, Process, Span and ClientStats in jaeger.thrift.
const (
	fieldProcess = 1
	fieldSpans   = 2
	fieldSeqNo   = 3
	fieldStats   = 4

	fieldServiceName = 1

	fieldTraceIDLow  = 1
	fieldTraceIDHigh = 2

	fieldFullQueueDropped = 1
	fieldTooLargeDropped  = 2
	fieldFailedToEmit     = 3
)

const (
	fieldHeader  = 1 + 2 // type, id
	listHeader   = 1 + 4 // type of the elements, their number
	stringHeader = 4     // length
	i64          = 8
	stop         = 1
)

// Overhead is the size in bytes of an encoded batch beyond its process and spans:
// len(Encode(process, spans, …)) == Overhead + len(process) + len(spans).
const Overhead = fieldHeader + // process
	fieldHeader + listHeader + // spans
	fieldHeader + i64 + // seqNo
	fieldHeader + 3*(fieldHeader+i64) + stop + // stats
	stop

// Stats says how many spans a process has lost so far, by reason. The counters
// only grow; a reader takes the difference of two batches of one process.
type Stats struct {
	FullQueueDropped int64 // the reporter's queue was full
	TooLargeDropped  int64 // one span alone was too large to send
	FailedToEmit     int64 // a batch could not be kept until it was sent
}

// AppendSpan appends the serialized span to dst and returns the extended slice.
func AppendSpan(dst []byte, s *jaeger.Span) ([]byte, error) {
	return appendStruct(dst, s)
}

// EncodeProcess serializes a process, to be used for all its batches.
func EncodeProcess(p *jaeger.Process) ([]byte, error) {
	return appendStruct(nil, p)
}

func appendStruct(dst []byte, s thrift.TStruct) ([]byte, error) {
	buf := thrift.TMemoryBuffer{Buffer: bytes.NewBuffer(dst)}
	if err := s.Write(context.Background(), thrift.NewTBinaryProtocolConf(&buf, nil)); err != nil {
		return dst, err
	}
	return buf.Bytes(), nil
}

// Encode assembles a batch from a serialized process and count serialized spans,
// one behind the other. It copies its arguments.
func Encode(process []byte, spans []byte, count int, seqNo int64, stats Stats) []byte {
	b := make([]byte, 0, Overhead+len(process)+len(spans))
	b = append(appendField(b, thrift.STRUCT, fieldProcess), process...)
	b = appendField(b, thrift.LIST, fieldSpans)
	b = append(appendSpanList(b, count), spans...)
	b = appendI64(b, fieldSeqNo, seqNo)
	b = appendField(b, thrift.STRUCT, fieldStats)
	b = appendI64(b, fieldFullQueueDropped, stats.FullQueueDropped)
	b = appendI64(b, fieldTooLargeDropped, stats.TooLargeDropped)
	b = appendI64(b, fieldFailedToEmit, stats.FailedToEmit)
	return append(b, thrift.STOP, thrift.STOP)
}

func appendField(b []byte, typ byte, id uint16) []byte {
	return binary.BigEndian.AppendUint16(append(b, typ), id)
}

func appendSpanList(b []byte, count int) []byte {
	return binary.BigEndian.AppendUint32(append(b, thrift.STRUCT), uint32(count))
}

func appendI64(b []byte, id uint16, v int64) []byte {
	return binary.BigEndian.AppendUint64(appendField(b, thrift.I64, id), uint64(v))
}
