package batch

import "github.com/uber/jaeger-client-go/thrift"

// maxFields is how many fields the largest struct has.
const maxFields = 11

// shape describes a struct of jaeger.thrift: its fields by id.
type shape struct {
	name     string
	fields   []field
	required uint16                            // bit n: field n
	usual    func(b []byte, pos int) (end int) // the fast way, if there is one (usual.go)
}

type field struct {
	typ  thrift.TType
	elem *shape // the struct itself, or a list's elements
}

func newShape(name string, required []int, fields ...field) *shape {
	s := &shape{name: name, fields: append([]field{{}}, fields...)} // ids start at 1
	for _, id := range required {
		s.required |= 1 << id
	}
	return s
}

func (s *shape) usually(pass func(b []byte, pos int) (end int)) *shape {
	s.usual = pass
	return s
}

// The structs of jaeger.thrift, in its order of fields.
var (
	str    = field{typ: thrift.STRING}
	num32  = field{typ: thrift.I32}
	num64  = field{typ: thrift.I64}
	double = field{typ: thrift.DOUBLE}
	truth  = field{typ: thrift.BOOL}

	tagShape     = newShape("tag", []int{1, 2}, str, num32, str, double, truth, num64, str).usually(usualTag)
	logShape     = newShape("log", []int{1, 2}, num64, listOf(tagShape))
	refShape     = newShape("span reference", []int{1, 2, 3, 4}, num32, num64, num64, num64)
	spanShape    = newShape("span", []int{1, 2, 3, 4, 5, 7, 8, 9}, num64, num64, num64, num64, str, listOf(refShape), num32, num64, num64, listOf(tagShape), listOf(logShape)).usually(usualSpan)
	processShape = newShape("process", []int{1}, str, listOf(tagShape))
	statsShape   = newShape("stats", []int{1, 2, 3}, num64, num64, num64)
	batchShape   = newShape("batch", []int{fieldProcess, fieldSpans}, structOf(processShape), listOf(spanShape), num64, structOf(statsShape))
)

func structOf(s *shape) field { return field{typ: thrift.STRUCT, elem: s} }
func listOf(s *shape) field   { return field{typ: thrift.LIST, elem: s} }
