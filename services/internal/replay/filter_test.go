package replay

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"fault-tolerant-tracing/tracing/otlp"
)

func TestParseTraceID(t *testing.T) {
	for text, want := range map[string]TraceID{
		"1":                                otlp.NewTraceID(0, 1),
		"0000000000000001":                 otlp.NewTraceID(0, 1),
		"ffffffffffffffff":                 otlp.NewTraceID(0, -1),
		"5DDFfd7a":                         otlp.NewTraceID(0, 0x5ddffd7a),
		"0000000000000000ffffffffffffffff": otlp.NewTraceID(0, -1),
		"20000000000000001":                otlp.NewTraceID(2, 1),
		"7fffffffffffffff0000000000000000": otlp.NewTraceID(math.MaxInt64, 0),
	} {
		got, err := ParseTraceID(text)
		assert.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "0", "00000000000000000", "x", "-1", "+1", "0x1", "1_0", " 1", "1 ", "000000000000000000000000000000001", "é"} {
		_, err := ParseTraceID(text)
		assert.ErrorContains(t, err, "is no trace id", text)
	}
}

func TestFilter(t *testing.T) {
	a, b, long := otlp.NewTraceID(0, 1), otlp.NewTraceID(0, 2), otlp.NewTraceID(1, 1)
	all := recordsOf(newBatch(t, "one", a, b), newBatch(t, "two", a, long, a), []byte("garbage"), nil, newBatch(t, "one"))
	type counts struct{ records, spans, traces, noBatch int64 }
	for _, tt := range []struct {
		name   string
		filter Filter
		want   counts
	}{
		{"all that has a value", Filter{}, counts{4, 5, 3, 1}},
		{"a service", Filter{Service: "one"}, counts{1, 2, 2, 0}},
		{"an unknown service", Filter{Service: "o"}, counts{}},
		{"a trace", Filter{Trace: a}, counts{2, 3, 1, 0}},
		{"a trace of 128 bits", Filter{Trace: long}, counts{1, 1, 1, 0}},
		{"a trace in a service", Filter{Trace: a, Service: "two"}, counts{1, 2, 1, 0}},
		{"an unknown trace", Filter{Trace: otlp.NewTraceID(1, 2)}, counts{}},
		{"from the time of a record", Filter{From: all[1].Time}, counts{3, 3, 2, 1}},
		{"up to the time of a record", Filter{To: all[1].Time}, counts{1, 2, 2, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			done := int64(0)
			got, err := Count(t.Context(), all, tt.filter, func(n int64) { done += n })
			assert.NoError(t, err)
			assert.Equal(t, tt.want, counts{got.Records, got.Spans, got.Traces, got.NoBatch})
			assert.EqualValues(t, len(all), done)
		})
	}
	got, err := Count(t.Context(), all, Filter{}, func(int64) {})
	assert.NoError(t, err)
	assert.Equal(t, map[string]ServiceCounts{"one": {1, 2}, "two": {1, 3}}, got.Services)
}

// A request of OTLP may hold the spans of several services.
func TestFilterChoosesAmongTheServicesOfARecord(t *testing.T) {
	traces := ptrace.NewTraces()
	for i, service := range []string{"one", "two", "one"} {
		resource := traces.ResourceSpans().AppendEmpty()
		resource.Resource().Attributes().PutStr("service.name", service)
		span := resource.ScopeSpans().AppendEmpty().Spans().AppendEmpty()
		span.SetTraceID(pcommon.TraceID(otlp.NewTraceID(0, int64(i)+1)))
	}
	value, err := new(ptrace.ProtoMarshaler).MarshalTraces(traces)
	require.NoError(t, err)
	for _, tt := range []struct {
		filter Filter
		want   map[string]ServiceCounts
	}{
		{Filter{}, map[string]ServiceCounts{"one": {1, 2}, "two": {1, 1}}},
		{Filter{Service: "two"}, map[string]ServiceCounts{"two": {1, 1}}},
		{Filter{Service: "one", Trace: otlp.NewTraceID(0, 3)}, map[string]ServiceCounts{"one": {1, 1}}},
		{Filter{Service: "two", Trace: otlp.NewTraceID(0, 3)}, map[string]ServiceCounts{}},
	} {
		got, err := Count(t.Context(), recordsOf(value), tt.filter, func(int64) {})
		require.NoError(t, err)
		assert.Equal(t, tt.want, got.Services, "%+v", tt.filter)
	}
}
