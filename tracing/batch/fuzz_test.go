package batch_test

import (
	"slices"
	"testing"

	"fault-tolerant-tracing/tracing/batch"

	"github.com/stretchr/testify/require"
	"github.com/uber/jaeger-client-go/thrift"
)

// seeds are batches that differ in what a carrier could get wrong; what fuzzing
// found beyond them is in testdata/fuzz.
func seeds(t testing.TB) [][]byte {
	tag := bytesOf(thrift.STRING, 0, 1, int32(1), "k", thrift.I32, 0, 2, int32(0))
	openSpan := minimalSpan[:len(minimalSpan)-1]
	whole := everything()
	whole.Spans = whole.Spans[:1]
	some := *whole
	some.SeqNo, some.Stats = nil, nil
	return [][]byte{
		encode(t, everything()),
		encode(t, whole),
		generated(t, &some), // as Java clients write it: no sequence number, no stats
		bytesOf(processOfS, noSpans, thrift.STOP),
		bytesOf(processOfS, listOf(thrift.STRUCT, minimalSpan, minimalSpan), seqNo7, stats123, thrift.STOP),
		bytesOf(stats123, seqNo7, listOf(thrift.STRUCT, minimalSpan), processOfS, thrift.STOP),                                       // another order
		bytesOf(processOfS, listOf(thrift.BYTE, minimalSpan), thrift.STOP),                                                           // another type of elements
		bytesOf(processOfS, listOf(thrift.STRUCT, bytesOf(openSpan, thrift.LIST, 0, 10, thrift.I64, int32(1), tag, 0, 0)), 0),        // the same in a span
		bytesOf(unknown, processOfS, listOf(thrift.STRUCT, bytesOf(unknown, openSpan, unknown, 0)), unknown, thrift.STOP),            // unknown fields
		bytesOf(processOfS, listOf(thrift.STRUCT, bytesOf(openSpan, i64Field(1, 99), 0)), thrift.STOP),                               // repeated in a span
		bytesOf(processOfS, processOfS, listOf(thrift.STRUCT, minimalSpan), noSpans, seqNo7, seqNo7, stats123, stats123, 0),          // repeated fields
		bytesOf(processOfS, listOf(thrift.STRUCT, bytesOf(i64Field(2, 1), openSpan, thrift.BYTE, 0, 2, 1, 0)), thrift.STOP),          // known field, another type
		bytesOf(processOfS, noSpans, thrift.MAP, 0, 9, thrift.BYTE, thrift.SET, int32(1), 1, thrift.BOOL, int32(2), 0, 1, 0),         // unknown map
		bytesOf(processOfS, listOf(thrift.STRUCT, bytesOf(openSpan, thrift.LIST, 0, 6, thrift.STRUCT, int32(0), 0)), seqNo7[:11], 0), // order in a span
		bytesOf(thrift.LIST, 0, 2, thrift.STRUCT, huge),
		bytesOf(thrift.MAP, 0, 9, thrift.STRUCT, thrift.STRUCT, huge),
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		frame, parseErr := batch.Parse(value)
		want, err := consult(value)
		if (parseErr == nil) != (err == nil) {
			t.Fatalf("Parse says %v, the generated code %v", parseErr, err)
		}
		b, decodeErr := batch.Decode(value)
		if (decodeErr == nil) != (err == nil) {
			t.Fatalf("Decode says %v, the generated code %v", decodeErr, err)
		}
		if err != nil {
			return
		}
		require.Equal(t, generated(t, want), generated(t, b))
		sameFrame(t, want, frame)

		first, second := frame.Slice(0, frame.Spans()/2), frame.Slice(frame.Spans()/2, frame.Spans())
		one, err := read(first)
		require.NoError(t, err)
		two, err := read(second)
		require.NoError(t, err)
		joined := *want.Batch
		joined.Spans = slices.Concat(one.Spans, two.Spans)
		require.Equal(t, generated(t, want), generated(t, &joined))
	})
}

func sameFrame(t *testing.T, want oracle, f batch.Frame) {
	require.Len(t, want.Spans, f.Spans())
	require.Equal(t, want.process(), f.Process())
	require.Equal(t, want.Process.ServiceName, f.Service())
	seqNo, ok := f.SeqNo()
	require.Equal(t, want.SeqNo != nil, ok)
	require.Equal(t, want.GetSeqNo(), seqNo)
	stats, ok := f.Stats()
	require.Equal(t, want.Stats != nil, ok)
	if ok {
		require.Equal(t, batch.Stats{
			FullQueueDropped: want.Stats.FullQueueDroppedSpans,
			TooLargeDropped:  want.Stats.TooLargeDroppedSpans,
			FailedToEmit:     want.Stats.FailedToEmitSpans,
		}, stats)
	}
}

func FuzzSelect(f *testing.F) {
	for i, s := range seeds(f) {
		f.Add(s, uint8(i))
	}
	f.Fuzz(func(t *testing.T, value []byte, mask uint8) {
		frame, err := batch.Parse(value)
		if err != nil {
			return
		}
		want, err := consult(value)
		require.NoError(t, err)
		all := want.Spans
		size := 0
		for _, mask := range []uint8{mask, ^mask} { // each span is in one of the two
			want.Spans = nil
			asked := 0
			selected, spans := frame.Select(func(high, low int64) bool {
				s := all[asked]
				require.Equal(t, [2]int64{s.TraceIdHigh, s.TraceIdLow}, [2]int64{high, low})
				keep := mask>>(asked%8)&1 == 1
				if asked++; keep {
					want.Spans = append(want.Spans, s)
				}
				return keep
			})
			require.Equal(t, len(all), asked)
			require.Equal(t, len(want.Spans), spans)
			if spans == 0 {
				require.Nil(t, selected)
				continue
			}
			got, err := consult(selected)
			require.NoError(t, err)
			require.Equal(t, generated(t, want), generated(t, got))
			require.Equal(t, len(want.top), len(got.top))
			size += len(got.spans())
		}
		require.Equal(t, len(want.spans()), size)
	})
}
