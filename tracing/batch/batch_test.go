package batch_test

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"fault-tolerant-tracing/tracing/batch"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/uber/jaeger-client-go/thrift"
	"github.com/uber/jaeger-client-go/thrift-gen/jaeger"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { tracingtest.VerifyMain(m) }

func ptr[T any](v T) *T { return &v }

// everything is a batch that uses every field and type of jaeger.thrift.
func everything() *jaeger.Batch {
	return &jaeger.Batch{
		Process: &jaeger.Process{
			ServiceName: "stream-app",
			Tags:        []*jaeger.Tag{{Key: "client-uuid", VType: jaeger.TagType_STRING, VStr: ptr("5f0e9ad3c1b2a467")}},
		},
		Spans: []*jaeger.Span{{
			TraceIdLow: 0x1122334455667788, TraceIdHigh: -2, SpanId: 3, ParentSpanId: 4, OperationName: "To_even-topic",
			References: []*jaeger.SpanRef{
				{RefType: jaeger.SpanRefType_CHILD_OF, TraceIdLow: 1, TraceIdHigh: 2, SpanId: 4},
				{RefType: jaeger.SpanRefType_FOLLOWS_FROM, TraceIdLow: 5, TraceIdHigh: 6, SpanId: 7},
			},
			Flags: 1, StartTime: 1_600_000_000_000_000, Duration: 1234,
			Tags: []*jaeger.Tag{
				{Key: "span.kind", VType: jaeger.TagType_STRING, VStr: ptr("producer")},
				{Key: "ratio", VType: jaeger.TagType_DOUBLE, VDouble: ptr(0.25)},
				{Key: "error", VType: jaeger.TagType_BOOL, VBool: ptr(true)},
				{Key: "partition", VType: jaeger.TagType_LONG, VLong: ptr(int64(2))},
				{Key: "raw", VType: jaeger.TagType_BINARY, VBinary: []byte{0, 255}},
			},
			Logs: []*jaeger.Log{{
				Timestamp: 1_600_000_000_000_001,
				Fields:    []*jaeger.Tag{{Key: "message", VType: jaeger.TagType_STRING, VStr: ptr("größer")}},
			}},
		}, {
			SpanId: 8, OperationName: "",
			References: []*jaeger.SpanRef{}, Tags: []*jaeger.Tag{}, Logs: []*jaeger.Log{},
		}, {
			SpanId: 9, OperationName: "nothing optional",
		}},
		SeqNo: ptr(int64(42)),
		Stats: &jaeger.ClientStats{FullQueueDroppedSpans: 1, TooLargeDroppedSpans: 2, FailedToEmitSpans: 3},
	}
}

// encode writes a batch with the package under test.
func encode(t testing.TB, b *jaeger.Batch) []byte {
	t.Helper()
	process, err := batch.EncodeProcess(b.Process)
	require.NoError(t, err)
	var spans []byte
	for _, s := range b.Spans {
		spans, err = batch.AppendSpan(spans, s)
		require.NoError(t, err)
	}
	value := batch.Encode(process, spans, len(b.Spans), b.GetSeqNo(), batch.Stats{
		FullQueueDropped: b.Stats.FullQueueDroppedSpans,
		TooLargeDropped:  b.Stats.TooLargeDroppedSpans,
		FailedToEmit:     b.Stats.FailedToEmitSpans,
	})
	require.Len(t, value, batch.Overhead+len(process)+len(spans))
	return value
}

// generated writes a batch with the code generated from jaeger.thrift.
func generated(t testing.TB, b thrift.TStruct) []byte {
	t.Helper()
	buf := thrift.NewTMemoryBuffer()
	require.NoError(t, b.Write(context.Background(), thrift.NewTBinaryProtocolConf(buf, nil)))
	return buf.Bytes()
}

func TestEncodeWritesTheBytesOfTheGeneratedCode(t *testing.T) {
	empty := everything()
	empty.Spans = []*jaeger.Span{}
	for name, b := range map[string]*jaeger.Batch{"every field": everything(), "no span": empty} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, generated(t, b), encode(t, b))
		})
	}
}

func TestEncodeWritesTheGoldenBytes(t *testing.T) {
	golden := filepath.Join("testdata", "batch.thrift")
	value := encode(t, everything())
	if *update {
		require.NoError(t, os.WriteFile(golden, value, 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(want, value), "the wire format has changed")
	decoded, err := batch.Decode(want)
	require.NoError(t, err)
	assert.Equal(t, everything(), decoded)
}

func TestSlicesKeepEverythingButTheSpans(t *testing.T) {
	whole := everything()
	f, err := batch.Parse(encode(t, whole))
	require.NoError(t, err)
	require.Equal(t, 3, f.Spans())

	first, second := f.Slice(0, 1), f.Slice(1, 3)

	want := *whole
	want.Spans = whole.Spans[:1]
	assert.Equal(t, encode(t, &want), first)
	want.Spans = whole.Spans[1:]
	assert.Equal(t, encode(t, &want), second)
	one, err := batch.Parse(first)
	require.NoError(t, err)
	assert.Equal(t, 1, one.Spans())
}

func TestSlicesKeepUnknownFields(t *testing.T) {
	value := encode(t, everything())
	unknown := []byte{thrift.BYTE, 0, 99, 7}
	value = append(append(unknown, value[:len(value)-1]...), append(unknown, thrift.STOP)...)
	f, err := batch.Parse(value)
	require.NoError(t, err)
	first, second := f.Slice(0, 1), f.Slice(1, 3)
	for _, half := range [][]byte{first, second} {
		assert.Equal(t, unknown, half[:4])
		assert.Equal(t, append(unknown, thrift.STOP), half[len(half)-5:])
		_, err := batch.Parse(half)
		assert.NoError(t, err)
	}
}
