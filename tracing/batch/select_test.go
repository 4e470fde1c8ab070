package batch_test

import (
	"bytes"
	"slices"
	"testing"

	"fault-tolerant-tracing/tracing/batch"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/uber/jaeger-client-go/thrift"
)

func parse(t testing.TB, value []byte) batch.Frame {
	t.Helper()
	f, err := batch.Parse(value)
	require.NoError(t, err)
	return f
}

// Pieces of batches, as other writers write them.
var (
	processOfS  = bytesOf(thrift.STRUCT, 0, 1, thrift.STRING, 0, 1, int32(1), "s", thrift.STOP)
	noSpans     = bytesOf(thrift.LIST, 0, 2, thrift.STRUCT, int32(0))
	seqNo7      = bytesOf(thrift.I64, 0, 3, int32(0), int32(7))
	stats123    = bytesOf(thrift.STRUCT, 0, 4, i64Field(1, 1), i64Field(2, 2), i64Field(3, 3), thrift.STOP)
	unknown     = bytesOf(thrift.BYTE, 0, 99, 7)
	minimalSpan = bytesOf(i64Field(1, 11), i64Field(2, 12), i64Field(3, 13), i64Field(4, 14),
		thrift.STRING, 0, 5, int32(2), "op", thrift.I32, 0, 7, int32(1), i64Field(8, 15), i64Field(9, 16), thrift.STOP)
)

func i64Field(id int, v int32) []byte { return bytesOf(thrift.I64, 0, id, int32(0), v) }

func listOf(elem int, spans ...[]byte) []byte {
	return bytesOf(thrift.LIST, 0, 2, elem, int32(len(spans)), bytes.Join(spans, nil))
}

func TestFrameKnowsItsFields(t *testing.T) {
	process := processOfS[3:]
	tests := []struct {
		name    string
		value   []byte
		process []byte
		service string
		seqNo   any
		stats   any
	}{
		{"process and spans only", bytesOf(processOfS, noSpans, thrift.STOP), process, "s", nil, nil},
		{"every field", bytesOf(processOfS, noSpans, seqNo7, stats123, thrift.STOP), process, "s", int64(7),
			batch.Stats{FullQueueDropped: 1, TooLargeDropped: 2, FailedToEmit: 3}},
		{"every field in another order", bytesOf(stats123, seqNo7, noSpans, processOfS, thrift.STOP), process, "s", int64(7),
			batch.Stats{FullQueueDropped: 1, TooLargeDropped: 2, FailedToEmit: 3}},
		{"fields of other types than known", bytesOf(processOfS, noSpans, thrift.BYTE, 0, 3, 1, thrift.BYTE, 0, 4, 1, thrift.STOP), process, "s", nil, nil},
		{"sequence number twice: the last one holds", bytesOf(i64Field(3, 6), seqNo7, processOfS, noSpans, thrift.STOP), process, "s", int64(7), nil},
		{"the service's name twice: the last one holds", bytesOf(processOfS[:len(processOfS)-1], processOfS[3:6], int32(2), "ab", thrift.STOP, noSpans, thrift.STOP),
			bytesOf(process[:len(process)-1], process[:3], int32(2), "ab", thrift.STOP), "ab", nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := parse(t, tt.value)
			assert.Equal(t, tt.process, f.Process())
			assert.Equal(t, len(tt.process), cap(f.Process()), "what is appended must not get into the batch")
			assert.Equal(t, tt.service, f.Service())
			if seqNo, ok := f.SeqNo(); assert.Equal(t, tt.seqNo != nil, ok) && ok {
				assert.Equal(t, tt.seqNo, seqNo)
			}
			if stats, ok := f.Stats(); assert.Equal(t, tt.stats != nil, ok) && ok {
				assert.Equal(t, tt.stats, stats)
			}
		})
	}
}

func TestTheZeroFrameIsNoBatch(t *testing.T) {
	var none batch.Frame
	assert.Zero(t, none.Spans())
	assert.Empty(t, none.Process())
	assert.Empty(t, none.Service())
	_, ok := none.SeqNo()
	assert.False(t, ok)
	_, ok = none.Stats()
	assert.False(t, ok)
	value, spans := none.Select(func(int64, int64) bool { return true })
	assert.Nil(t, value)
	assert.Zero(t, spans)
}

func TestSelectKeepsEverythingButTheOtherSpans(t *testing.T) {
	whole := everything()
	f := parse(t, encode(t, whole))
	var seen [][2]int64
	value, spans := f.Select(func(high, low int64) bool {
		seen = append(seen, [2]int64{high, low})
		return high == -2 || len(seen) == 3
	})
	assert.Equal(t, [][2]int64{{-2, 0x1122334455667788}, {0, 0}, {0, 0}}, seen)
	assert.Equal(t, 2, spans)
	whole.Spans = slices.Delete(whole.Spans, 1, 2)
	assert.Equal(t, encode(t, whole), value)

	value, spans = f.Select(func(int64, int64) bool { return false })
	assert.Nil(t, value)
	assert.Zero(t, spans)
}

func TestSelectKeepsUnknownFields(t *testing.T) {
	value := bytesOf(unknown, listOf(thrift.BYTE, minimalSpan, minimalSpan), seqNo7, processOfS, unknown, thrift.STOP)
	selected, spans := parse(t, value).Select(func(high, low int64) bool { return high == 12 && low == 11 })
	assert.Equal(t, 2, spans)
	assert.Equal(t, value, selected)
}
