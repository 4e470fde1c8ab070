package main

import (
	"encoding/binary"
	"testing"

	"fault-tolerant-tracing/tracing/batch"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	thrift "github.com/uber/jaeger-client-go/thrift-gen/jaeger"
	trace "go.opentelemetry.io/proto/slim/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

func TestMain(m *testing.M) { tracingtest.VerifyMain(m) }

func startStream(t *testing.T, client, spans int, encode format) *stream {
	t.Helper()
	s, err := newStream(client, spans, encode)
	require.NoError(t, err)
	return s
}

func decode(t *testing.T, value []byte) *thrift.Batch {
	t.Helper()
	b, err := batch.Decode(value)
	require.NoError(t, err)
	return b
}

func TestTracesHaveNineSpansOfTheirOwn(t *testing.T) {
	for _, size := range []int{9, 100} {
		seen, traces := map[int64]bool{}, map[int64]int{}
		for client := range clients {
			s, last := startStream(t, client, size, asThrift), int64(0)
			for seqNo := range int64(9) {
				b := decode(t, s.next())
				require.Len(t, b.Spans, size)
				assert.Equal(t, seqNo+1, b.GetSeqNo())
				for _, span := range b.Spans {
					require.False(t, seen[span.SpanId], "a span id came twice")
					seen[span.SpanId] = true
					if traces[span.TraceIdLow]++; traces[span.TraceIdLow] == 1 {
						last = 0
					}
					require.Equal(t, last, span.ParentSpanId, "the parent is the span before")
					last = span.SpanId
				}
			}
		}
		require.Len(t, seen, clients*9*size)
		require.Len(t, traces, clients*size)
	}
}

func TestASpanIsNoSmallerThanRealOnes(t *testing.T) {
	b := decode(t, startStream(t, 0, 9, asThrift).next())
	for _, span := range b.Spans {
		encoded, err := batch.AppendSpan(nil, span)
		require.NoError(t, err)
		assert.GreaterOrEqual(t, len(encoded), 200)
		assert.Len(t, span.Tags, 5)
	}
}

func TestClientsAreProcessesWithTheirOwnID(t *testing.T) {
	uuids := map[string]bool{}
	for client := range clients {
		for _, tag := range process(client).Tags {
			if tag.Key == "client-uuid" {
				assert.Equal(t, clientUUID(client), tag.GetVStr())
				uuids[tag.GetVStr()] = true
			}
		}
	}
	assert.Len(t, uuids, clients)
}

func TestOTLPCarriesTheSameSpans(t *testing.T) {
	ours, theirs := startStream(t, 3, 100, asThrift), startStream(t, 3, 100, asOTLP)
	for range 3 {
		want := decode(t, ours.next())
		var got trace.TracesData
		require.NoError(t, proto.Unmarshal(theirs.next(), &got))
		require.Len(t, got.ResourceSpans, 1)
		require.Len(t, got.ResourceSpans[0].ScopeSpans, 1)
		spans := got.ResourceSpans[0].ScopeSpans[0].Spans
		require.Len(t, spans, 100)
		for i, w := range want.Spans {
			require.Equal(t, uint64(w.TraceIdLow), binary.BigEndian.Uint64(spans[i].TraceId[8:]))
			require.Equal(t, uint64(w.SpanId), binary.BigEndian.Uint64(spans[i].SpanId))
			require.Equal(t, uint64(w.ParentSpanId), binary.BigEndian.Uint64(spans[i].ParentSpanId))
			require.Equal(t, w.OperationName, spans[i].Name)
			require.Len(t, spans[i].Attributes, 4, "all tags but span.kind")
		}
	}
}
