package main

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"fault-tolerant-tracing/tracing/batch"

	"github.com/uber/jaeger-client-go"
	thrift "github.com/uber/jaeger-client-go/thrift-gen/jaeger"
)

const (
	clients       = 12 // processes that send spans, two to a partition
	spansPerTrace = 9
)

// operations are those of the demo's trace, one span each.
var operations = [spansPerTrace]string{
	"From_number-topic", "To_even-topic", "From_even-topic", "POST /random", "HTTP POST", "POST /random",
	"To_sentence-topic", "From_sentence-topic", "To_answer-topic",
}

// stream makes the batches of one client process, one after the other. They are
// encoded once; from batch to batch only the ids change, so that making them
// costs next to nothing beside sending them.
type stream struct {
	client int
	batch  encoded
	spans  uint64 // so far
	seqNo  uint64 // of the last batch

	// processes is how many of one client there are, its batches taking turns; 0: one.
	processes uint64
}

// encoded is a batch with the places of what differs between two of them: 64-bit
// numbers, big endian.
type encoded struct {
	value []byte
	ids   []ids
	uuid  int // where that of the process is, in hexadecimal
	seqNo int // 0: it has none
}

// ids are the places of a span's trace id (its lower half), its own id and its
// parent's.
type ids struct{ trace, span, parent int }

// next returns the next batch, which is valid until the call after it. Span i
// of a stream is the child of the one before, nine to a trace.
func (s *stream) next() []byte {
	for _, at := range s.batch.ids {
		s.put(at.trace, id(s.client, s.spans/spansPerTrace))
		s.put(at.span, id(s.client, s.spans))
		parent := uint64(0)
		if s.spans%spansPerTrace > 0 {
			parent = id(s.client, s.spans-1)
		}
		s.put(at.parent, parent)
		s.spans++
	}
	s.seqNo++
	if s.batch.seqNo > 0 {
		s.put(s.batch.seqNo, s.seqNo)
	}
	if s.processes > 0 {
		copy(s.batch.value[s.batch.uuid:], fmt.Sprintf("%016x", id(s.client, s.seqNo%s.processes)))
	}
	return s.batch.value
}

func (s *stream) put(at int, v uint64) { binary.BigEndian.PutUint64(s.batch.value[at:], v) }

// id gives each n of each client another number, spread like a random one: the
// finalizer of SplitMix64, which is a bijection.
func id(client int, n uint64) uint64 {
	x := uint64(client+1)<<48 + n
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// format is how a batch is encoded.
type format func(process *thrift.Process, spans []*thrift.Span) ([]byte, error)

// newStream makes a stream of batches of so many spans.
func newStream(client, spans int, encode format) (*stream, error) {
	value, err := encode(process(client), sampleSpans(spans))
	if err != nil {
		return nil, fmt.Errorf("encode a batch: %w", err)
	}
	b := encoded{value: value, uuid: bytes.Index(value, []byte(clientUUID(client))), seqNo: max(0, find(value, seqNoMark))}
	for i := range spans {
		at := ids{trace: find(value, mark(traceMark, i)), span: find(value, mark(spanMark, i)), parent: find(value, mark(parentMark, i))}
		if min(at.trace, at.span, at.parent) < 0 {
			return nil, fmt.Errorf("encode a batch: the ids of span %d are not in it", i)
		}
		b.ids = append(b.ids, at)
	}
	return &stream{client: client, batch: b}, nil
}

// Marks stand in the place of what changes until the place is known.
const (
	traceMark = iota + 1
	spanMark
	parentMark

	seqNoMark = uint64(0x7e57_ab1e_0000_0000)
)

func mark(kind, span int) uint64 { return seqNoMark | uint64(kind)<<24 | uint64(span) }

func find(value []byte, mark uint64) int {
	return bytes.Index(value, binary.BigEndian.AppendUint64(nil, mark))
}

// clientUUID names a client process. It is the key of its records.
func clientUUID(client int) string { return fmt.Sprintf("%016x", id(client, 0)) }

func process(client int) *thrift.Process {
	return &thrift.Process{ServiceName: fmt.Sprintf("service-%02d", client), Tags: []*thrift.Tag{
		text(jaeger.JaegerClientVersionTagKey, "Go-2.30.0"),
		text(jaeger.TracerHostnameTagKey, fmt.Sprintf("host-%02d", client)),
		text(jaeger.TracerIPTagKey, fmt.Sprintf("10.0.0.%d", 100+client)),
		text(jaeger.TracerUUIDTagKey, clientUUID(client)),
	}}
}

func sampleSpans(n int) []*thrift.Span {
	spans := make([]*thrift.Span, n)
	for i := range spans {
		spans[i] = &thrift.Span{
			TraceIdLow:    int64(mark(traceMark, i)),
			SpanId:        int64(mark(spanMark, i)),
			ParentSpanId:  int64(mark(parentMark, i)),
			OperationName: operations[i%spansPerTrace],
			Flags:         1,
			StartTime:     1_790_000_000_000_000 + int64(i),
			Duration:      1_500,
			Tags: []*thrift.Tag{
				text("span.kind", "consumer"),
				text("component", "confluent-kafka-go"),
				text("message_bus.destination", "number-topic"),
				number("partition", int64(i%3)),
				number("offset", 1_000_000+int64(i)),
			},
		}
	}
	return spans
}

func text(key, value string) *thrift.Tag {
	return &thrift.Tag{Key: key, VType: thrift.TagType_STRING, VStr: &value}
}

func number(key string, value int64) *thrift.Tag {
	return &thrift.Tag{Key: key, VType: thrift.TagType_LONG, VLong: &value}
}

// asThrift encodes a batch as package tracing does.
func asThrift(process *thrift.Process, spans []*thrift.Span) ([]byte, error) {
	p, err := batch.EncodeProcess(process)
	if err != nil {
		return nil, err
	}
	var all []byte
	for _, s := range spans {
		if all, err = batch.AppendSpan(all, s); err != nil {
			return nil, err
		}
	}
	return batch.Encode(p, all, len(spans), int64(seqNoMark), batch.Stats{}), nil
}
