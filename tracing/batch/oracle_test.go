package batch_test

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/uber/jaeger-client-go/thrift"
	"github.com/uber/jaeger-client-go/thrift-gen/jaeger"
)

// strict makes the Thrift library safe and strict enough to be compared with: as
// it is, it allocates what a list claims, and while skipping it takes the end of
// the bytes for the end of a struct.
type strict struct {
	thrift.TProtocol
	left *bytes.Buffer
	err  error

	depth int     // of structs
	top   []place // the batch's own fields, in order, and its end
}

// place is where a field of the batch is: how many bytes are left at its head.
type place struct {
	typ  thrift.TType
	id   int16
	left int
}

func (s *strict) note(err error) error {
	if s.err == nil {
		s.err = err
	}
	return err
}

func (s *strict) sized(size int, err error) (int, error) {
	if err == nil && size > s.left.Len() {
		err = errors.New("size")
	}
	return size, s.note(err)
}

func (s *strict) ReadListBegin(ctx context.Context) (thrift.TType, int, error) {
	typ, size, err := s.TProtocol.ReadListBegin(ctx)
	size, err = s.sized(size, err)
	return typ, size, err
}

func (s *strict) ReadSetBegin(ctx context.Context) (thrift.TType, int, error) {
	return s.ReadListBegin(ctx)
}

func (s *strict) ReadMapBegin(ctx context.Context) (key, value thrift.TType, size int, err error) {
	key, value, size, err = s.TProtocol.ReadMapBegin(ctx)
	size, err = s.sized(size, err)
	return key, value, size, err
}

func (s *strict) ReadFieldBegin(ctx context.Context) (string, thrift.TType, int16, error) {
	left := s.left.Len()
	name, typ, id, err := s.TProtocol.ReadFieldBegin(ctx)
	if s.depth == 1 {
		s.top = append(s.top, place{typ, id, left})
	}
	return name, typ, id, s.note(err)
}

func (s *strict) ReadStructBegin(ctx context.Context) (string, error) {
	s.depth++
	return s.TProtocol.ReadStructBegin(ctx)
}

func (s *strict) ReadStructEnd(ctx context.Context) error {
	s.depth--
	return s.TProtocol.ReadStructEnd(ctx)
}

func (s *strict) Skip(ctx context.Context, typ thrift.TType) error {
	return s.note(thrift.SkipDefaultDepth(ctx, s, typ))
}

// oracle is what the generated code alone finds in a batch.
type oracle struct {
	*jaeger.Batch
	value []byte
	top   []place
}

// consult decodes with the generated code alone.
func consult(value []byte) (oracle, error) {
	buf := &thrift.TMemoryBuffer{Buffer: bytes.NewBuffer(slices.Clone(value))}
	s := &strict{TProtocol: thrift.NewTBinaryProtocolConf(buf, nil), left: buf.Buffer}
	b := jaeger.NewBatch()
	if err := errors.Join(b.Read(context.Background(), s), s.err); err != nil {
		return oracle{}, err
	}
	if buf.Len() > 0 {
		return oracle{}, errors.New("bytes left")
	}
	return oracle{b, value, s.top}, nil
}

// read is consult for those who want the batch only.
func read(value []byte) (*jaeger.Batch, error) {
	o, err := consult(value)
	return o.Batch, err
}

// field returns the bytes of the last field with that type and id, its head left out.
func (o oracle) field(typ thrift.TType, id int16) (field []byte) {
	for i, p := range o.top[:len(o.top)-1] {
		if p.typ == typ && p.id == id {
			field = o.value[len(o.value)-p.left+3 : len(o.value)-o.top[i+1].left]
		}
	}
	return field
}

func (o oracle) process() []byte { return o.field(thrift.STRUCT, 1) }

// spans returns the serialized spans; the list's header is left out.
func (o oracle) spans() []byte { return o.field(thrift.LIST, 2)[5:] }
