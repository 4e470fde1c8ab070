package otlp_test

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/protobuf/encoding/protowire"

	"fault-tolerant-tracing/tracing/otlp"
)

// generate makes a request with resources, scopes and spans of every kind.
func generate(random *rand.Rand) ptrace.Traces {
	traces := ptrace.NewTraces()
	for range random.IntN(4) {
		rs := traces.ResourceSpans().AppendEmpty()
		attributes(random, rs.Resource().Attributes())
		rs.SetSchemaUrl(text(random))
		for range random.IntN(3) {
			ss := rs.ScopeSpans().AppendEmpty()
			ss.Scope().SetName(text(random))
			ss.SetSchemaUrl(text(random))
			attributes(random, ss.Scope().Attributes())
			for range random.IntN(4) {
				span(random, ss.Spans().AppendEmpty())
			}
		}
	}
	return traces
}

func span(random *rand.Rand, s ptrace.Span) {
	s.SetTraceID(pcommon.TraceID{1, byte(random.IntN(3))})
	s.SetSpanID(pcommon.SpanID{byte(random.IntN(256))})
	if random.IntN(2) == 0 {
		s.SetParentSpanID(pcommon.SpanID{byte(random.IntN(256))})
	}
	s.TraceState().FromRaw(text(random))
	s.SetName(text(random))
	s.SetKind(ptrace.SpanKind(random.IntN(6)))
	s.SetStartTimestamp(pcommon.Timestamp(random.Uint64()))
	s.SetEndTimestamp(pcommon.Timestamp(random.Uint64()))
	s.SetFlags(random.Uint32())
	s.SetDroppedAttributesCount(random.Uint32N(3))
	s.Status().SetCode(ptrace.StatusCode(random.IntN(3)))
	s.Status().SetMessage(text(random))
	attributes(random, s.Attributes())
	for range random.IntN(3) {
		e := s.Events().AppendEmpty()
		e.SetName(text(random))
		e.SetTimestamp(pcommon.Timestamp(random.Uint64()))
		attributes(random, e.Attributes())
	}
	for range random.IntN(3) {
		l := s.Links().AppendEmpty()
		l.SetTraceID(pcommon.TraceID{2, byte(random.IntN(256))})
		l.SetSpanID(pcommon.SpanID{byte(random.IntN(256))})
		attributes(random, l.Attributes())
	}
}

func attributes(random *rand.Rand, m pcommon.Map) {
	for i := range random.IntN(5) {
		value(random, m.PutEmpty([]string{"service.name", "a", "b", "", "größer"}[i]), 3)
	}
}

func value(random *rand.Rand, v pcommon.Value, depth int) {
	switch random.IntN(8) {
	case 0:
		v.SetStr(text(random))
	case 1:
		v.SetBool(random.IntN(2) == 0)
	case 2:
		v.SetInt(int64(random.Uint64()))
	case 3:
		v.SetDouble(random.Float64())
	case 4:
		v.SetEmptyBytes().FromRaw([]byte(text(random)))
	case 5:
		if list := v.SetEmptySlice(); depth > 0 {
			value(random, list.AppendEmpty(), depth-1)
		}
	case 6:
		if m := v.SetEmptyMap(); depth > 0 {
			value(random, m.PutEmpty("k"), depth-1)
		}
	}
}

func text(random *rand.Rand) string {
	return []string{"", "stream-app", "GET /", "größer", string(make([]byte, 200))}[random.IntN(5)]
}

func encode(t testing.TB, traces ptrace.Traces) []byte {
	t.Helper()
	value, err := new(ptrace.ProtoMarshaler).MarshalTraces(traces)
	require.NoError(t, err)
	return value
}

// spansOf writes down each span of a request with what stands around it.
func spansOf(t testing.TB, value []byte) (spans []string) {
	t.Helper()
	request := ptraceotlp.NewExportRequest()
	require.NoError(t, request.UnmarshalProto(value))
	for _, rs := range request.Traces().ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, s := range ss.Spans().All() {
				one := ptrace.NewTraces()
				r := one.ResourceSpans().AppendEmpty()
				rs.Resource().CopyTo(r.Resource())
				r.SetSchemaUrl(rs.SchemaUrl())
				c := r.ScopeSpans().AppendEmpty()
				ss.Scope().CopyTo(c.Scope())
				c.SetSchemaUrl(ss.SchemaUrl())
				s.CopyTo(c.Spans().AppendEmpty())
				spans = append(spans, string(encode(t, one)))
			}
		}
	}
	return spans
}

// check compares what the package finds in a value with what pdata does.
func check(t *testing.T, value []byte) {
	t.Helper()
	request, err := otlp.Parse(value)
	theirs := ptraceotlp.NewExportRequest().UnmarshalProto(value)
	if err != nil {
		return // it is stricter: about groups, field numbers, lengths beyond 2³¹ and depth
	}
	require.NoError(t, theirs)
	require.Equal(t, value, request.Bytes())
	all := spansOf(t, value)
	require.Len(t, all, request.Spans())

	middle := request.Spans() / 2
	first, second := request.Slice(nil, 0, middle), request.Slice(nil, middle, request.Spans())
	require.Equal(t, all, slices.Concat(spansOf(t, first), spansOf(t, second)))
	require.Equal(t, all, spansOf(t, slices.Concat(first, second)), "requests merge by appending their bytes")
	for _, half := range [][]byte{first, second} {
		_, err := otlp.Parse(half)
		require.NoError(t, err)
	}

	traces := map[otlp.TraceID]bool{}
	selected, n := request.Select(func(_ string, id otlp.TraceID) bool {
		traces[id] = true
		return len(traces) == 1
	})
	require.Len(t, spansOf(t, selected), n)
	require.Equal(t, request.Spans() > 0, n > 0)
}

func TestGeneratedRequests(t *testing.T) {
	for seed := range uint64(2000) {
		random := rand.New(rand.NewPCG(seed, 0))
		value := encode(t, generate(random))
		_, err := otlp.Parse(value)
		require.NoError(t, err)
		check(t, value)
		if len(value) > 0 {
			value[random.IntN(len(value))] ^= byte(1 << random.IntN(8))
			check(t, value)
			check(t, value[:random.IntN(len(value))])
		}
	}
}

func FuzzParse(f *testing.F) {
	for seed := range uint64(50) {
		f.Add(encode(f, generate(rand.New(rand.NewPCG(seed, 0)))))
	}
	f.Fuzz(check)
}

func TestWhatIsNoRequest(t *testing.T) {
	deep := []byte{}
	for range 300 {
		deep = protowire.AppendBytes([]byte{1<<3 | 2}, deep) // ArrayValue.values
		deep = protowire.AppendBytes([]byte{5<<3 | 2}, deep) // AnyValue.array_value
	}
	for _, field := range []byte{2, 1, 1, 1} { // KeyValue.value, Resource.attributes, ResourceSpans.resource, resource_spans
		deep = protowire.AppendBytes([]byte{field<<3 | 2}, deep)
	}
	for _, tt := range []struct{ name, hex, want string }{
		{"cut off", "0a05", "no OTLP request, byte 2: a length of 5 with 0 bytes left"},
		{"a number for a message", "0801", "no OTLP request, byte 1: field 1 of a request has type 0 instead of 2"},
		{"field 0", "0a020000", "no OTLP request, byte 3: a field with number 0 in a resource spans"},
		{"an id of one byte", "0a07120512030a0101", "no OTLP request, byte 8: an id of 1 bytes instead of 16 in a span"},
		{"a Thrift batch", "0c00010b", "no OTLP request, byte 1: field 1 of a request has type 4 instead of 2"},
		{"JSON", hex.EncodeToString([]byte(`{"resourceSpans":[]}`)), "no OTLP request, byte 1: a group in a request"},
		{"a group of an unknown field", "0a027374", "no OTLP request, byte 3: a group in a resource spans, which proto3 does not have"},
		{"deep", hex.EncodeToString(deep), "nested too deep"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			value, err := hex.DecodeString(tt.hex)
			require.NoError(t, err)
			_, err = otlp.Parse(value)
			assert.ErrorContains(t, err, tt.want)
			_, err = otlp.Decode(value)
			assert.ErrorContains(t, err, tt.want)
		})
	}
}

func TestService(t *testing.T) {
	traces := ptrace.NewTraces()
	traces.ResourceSpans().AppendEmpty().Resource().Attributes().PutInt("service.name", 1)
	request, err := otlp.Parse(encode(t, traces))
	require.NoError(t, err)
	assert.Empty(t, request.Service())
	attributes := traces.ResourceSpans().AppendEmpty().Resource().Attributes()
	attributes.PutStr("host.name", "h")
	attributes.PutStr("service.name", "orders")
	request, err = otlp.Parse(encode(t, traces))
	require.NoError(t, err)
	assert.Equal(t, "orders", request.Service())
}

func TestDecode(t *testing.T) {
	value := encode(t, generate(rand.New(rand.NewPCG(3, 0))))
	request, err := otlp.Parse(value)
	require.NoError(t, err)
	decoded, err := otlp.Decode(value)
	require.NoError(t, err)
	spans := 0
	for _, rs := range decoded.ResourceSpans {
		for _, ss := range rs.ScopeSpans {
			spans += len(ss.Spans)
		}
	}
	assert.Equal(t, request.Spans(), spans)
	assert.NotZero(t, spans)
}

// BenchmarkParse compares Parse with pdata's decoder.
func BenchmarkParse(b *testing.B) {
	for _, spans := range []int{9, 100} {
		traces := ptrace.NewTraces()
		rs := traces.ResourceSpans().AppendEmpty()
		rs.Resource().Attributes().PutStr("service.name", "stream-app")
		ss := rs.ScopeSpans().AppendEmpty()
		for i := range spans {
			s := ss.Spans().AppendEmpty()
			s.SetTraceID(pcommon.TraceID{1, byte(i)})
			s.SetSpanID(pcommon.SpanID{byte(i)})
			s.SetName("To_sentence-topic")
			s.SetStartTimestamp(1_700_000_000_000_000_000)
			s.SetEndTimestamp(1_700_000_000_000_001_000)
			for _, key := range []string{"component", "peer.service", "messaging.system"} {
				s.Attributes().PutStr(key, "kafka")
			}
			s.Attributes().PutInt("number.value", int64(i))
			s.Attributes().PutInt("partition", int64(i%3))
		}
		value := encode(b, traces)
		var ours float64
		b.Run(fmt.Sprintf("spans=%d/by=Parse", spans), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := otlp.Parse(value); err != nil {
					b.Fatal(err)
				}
			}
			ours = perSpan(b, spans)
		})
		b.Run(fmt.Sprintf("spans=%d/by=pdata", spans), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := ptraceotlp.NewExportRequest().UnmarshalProto(value); err != nil {
					b.Fatal(err)
				}
			}
			if theirs := perSpan(b, spans); ours > 0 {
				b.ReportMetric(theirs/ours, "×Parse")
			}
		})
	}
}

func perSpan(b *testing.B, spans int) float64 {
	ns := float64(b.Elapsed().Nanoseconds()) / float64(b.N*spans)
	b.ReportMetric(ns, "ns/span")
	return ns
}
