package batch_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"fault-tolerant-tracing/tracing/batch"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/uber/jaeger-client-go/thrift"
)

// bytesOf concatenates bytes, numbers (as 4 bytes, big endian) and strings.
func bytesOf(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			b = append(b, byte(p))
		case int32:
			b = binary.BigEndian.AppendUint32(b, uint32(p))
		case string:
			b = append(b, p...)
		case []byte:
			b = append(b, p...)
		}
	}
	return b
}

const huge = int32(1<<31 - 1)

func TestParse(t *testing.T) {
	process := processOfS
	good := bytesOf(process, noSpans, thrift.STOP)
	nested := func(depth int) []byte { // an unknown field of lists in lists
		return bytesOf(thrift.LIST, 0, 9, bytes.Repeat(bytesOf(thrift.LIST, int32(1)), depth-1), thrift.BYTE, int32(0))
	}
	span := func(drop string) []byte {
		var b []byte
		for _, f := range []struct {
			name  string
			bytes []byte
		}{
			{"traceIdLow", bytesOf(thrift.I64, 0, 1, "........")}, {"traceIdHigh", bytesOf(thrift.I64, 0, 2, "........")},
			{"spanId", bytesOf(thrift.I64, 0, 3, "........")}, {"parentSpanId", bytesOf(thrift.I64, 0, 4, "........")},
			{"operationName", bytesOf(thrift.STRING, 0, 5, int32(0))}, {"flags", bytesOf(thrift.I32, 0, 7, int32(1))},
			{"startTime", bytesOf(thrift.I64, 0, 8, "........")}, {"duration", bytesOf(thrift.I64, 0, 9, "........")},
		} {
			if f.name != drop {
				b = append(b, f.bytes...)
			}
		}
		return append(b, thrift.STOP)
	}
	oneSpan := func(s []byte) []byte {
		return bytesOf(process, thrift.LIST, 0, 2, thrift.STRUCT, int32(1), s, thrift.STOP)
	}
	full := encode(t, everything())

	tests := []struct {
		name  string
		value []byte
		want  string // part of the error; "": accepted
		spans int
	}{
		{"no spans", good, "", 0},
		{"a span of required fields only", oneSpan(span("")), "", 1},
		{"every field", full, "", 3},
		{"spans before the process", bytesOf(noSpans, process, thrift.STOP), "", 0},
		{"spans twice: the last ones count", bytesOf(process, thrift.LIST, 0, 2, thrift.STRUCT, int32(1), span(""), noSpans, thrift.STOP), "", 0},
		{"unknown fields of every type", bytesOf(process, noSpans,
			thrift.BOOL, 0, 9, 1, thrift.BYTE, 0, 9, 1, thrift.I16, 0, 9, "..", thrift.I32, 0, 9, "....", thrift.DOUBLE, 0, 9, "........",
			thrift.STRING, 0, 9, int32(2), "ab", thrift.SET, 0, 9, thrift.BYTE, int32(2), "ab",
			thrift.MAP, 0, 9, thrift.BYTE, thrift.I16, int32(2), "abbabb", thrift.STRUCT, 0, 9, thrift.BYTE, 0, 1, 7, thrift.STOP, thrift.STOP), "", 0},
		{"a known field of another type counts as unknown", bytesOf(process, noSpans, thrift.BYTE, 0, 3, 1, thrift.STOP), "", 0},
		{"a negative field id is unknown", bytesOf(process, noSpans, thrift.BYTE, 255, 255, 1, thrift.STOP), "", 0},
		{"nested as deep as allowed", bytesOf(process, noSpans, nested(64), thrift.STOP), "", 0},

		{"nothing", nil, "end too early", 0},
		{"an empty struct", []byte{thrift.STOP}, "batch without its required field 1", 0},
		{"text", []byte("hello, world"), "unknown type 104", 0},
		{"JSON", []byte(`{"process":{}}`), "not a jaeger.thrift batch", 0},
		{"no process", bytesOf(noSpans, thrift.STOP), "batch without its required field 1", 0},
		{"no list of spans", bytesOf(process, thrift.STOP), "batch without its required field 2", 0},
		{"a process without a service", bytesOf(thrift.STRUCT, 0, 1, thrift.STOP, noSpans, thrift.STOP), "process without its required field 1", 0},
		{"the service's name is no string", bytesOf(thrift.STRUCT, 0, 1, thrift.BYTE, 0, 1, 7, thrift.STOP, noSpans, thrift.STOP), "process without its required field 1", 0},
		{"a span without its name", oneSpan(span("operationName")), "span without its required field 5", 0},
		{"a span without its duration", oneSpan(span("duration")), "span without its required field 9", 0},
		{"a tag without a type", bytesOf(thrift.STRUCT, 0, 1, thrift.STRING, 0, 1, int32(0),
			thrift.LIST, 0, 2, thrift.STRUCT, int32(1), thrift.STRING, 0, 1, int32(0), thrift.STOP, thrift.STOP, noSpans, thrift.STOP), "tag without its required field 2", 0},
		{"stats without counters", bytesOf(process, noSpans, thrift.STRUCT, 0, 4, thrift.STOP, thrift.STOP), "stats without its required field 1", 0},
		{"one byte too many", append(bytes.Clone(full), 0), "1 bytes behind the end", 0},
		{"two batches", append(bytes.Clone(full), full...), "behind the end", 0},
		{"a byte missing", full[:len(full)-1], "end too early", 0},
		{"a huge list of spans", bytesOf(process, thrift.LIST, 0, 2, thrift.STRUCT, huge), "a size of 2147483647 with 0 bytes left", 0},
		{"a negative list of spans", bytesOf(process, thrift.LIST, 0, 2, thrift.STRUCT, int32(-1), thrift.STOP), "a size of -1", 0},
		{"a huge string", bytesOf(thrift.STRUCT, 0, 1, thrift.STRING, 0, 1, huge, "s"), "a size of 2147483647", 0},
		{"a huge unknown list", bytesOf(process, noSpans, thrift.LIST, 0, 9, thrift.STRUCT, huge), "a size of 2147483647", 0},
		{"a huge unknown map", bytesOf(process, noSpans, thrift.MAP, 0, 9, thrift.STRUCT, thrift.STRUCT, huge), "a size of 2147483647", 0},
		{"nested too deep", bytesOf(process, noSpans, nested(65), bytesOf(thrift.STOP), thrift.STOP), "nested too deep", 0},
		{"structs without end", bytes.Repeat(bytesOf(thrift.STRUCT, 0, 9), 100_000), "nested too deep", 0},
		{"an unknown type in a list", bytesOf(process, noSpans, thrift.LIST, 0, 9, 99, int32(1), 0, thrift.STOP), "unknown type 99", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := batch.Parse(tt.value)
			b, decodeErr := batch.Decode(tt.value)
			if tt.want != "" {
				assert.ErrorContains(t, err, tt.want)
				assert.Error(t, decodeErr)
				return
			}
			require.NoError(t, err)
			require.NoError(t, decodeErr)
			assert.Equal(t, tt.spans, f.Spans())
			assert.Len(t, b.Spans, tt.spans)
		})
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	usual := encode(t, everything())
	unusual := bytesOf(processOfS, listOf(thrift.STRUCT, bytesOf(unknown, minimalSpan)), thrift.STOP)
	for _, value := range [][]byte{usual, unusual} {
		_, err := batch.Parse(value)
		require.NoError(t, err)
		assert.Zero(t, testing.AllocsPerRun(100, func() { _, _ = batch.Parse(value) }))
	}
}
