package payload

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/jaegertracing/jaeger-idl/model/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/uber/jaeger-client-go/thrift-gen/jaeger"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"fault-tolerant-tracing/tracing/batch"
	"fault-tolerant-tracing/tracing/otlp"
)

const service = "stream"

var names = []string{"a", "b", "c"}

// thriftRecord holds the spans a, b and c of the traces 1, 2 and 3.
func thriftRecord(t testing.TB) []byte {
	t.Helper()
	process, err := batch.EncodeProcess(&jaeger.Process{ServiceName: service})
	require.NoError(t, err)
	var spans []byte
	for i, name := range names {
		spans, err = batch.AppendSpan(spans, &jaeger.Span{TraceIdLow: int64(i + 1), SpanId: 7, OperationName: name})
		require.NoError(t, err)
	}
	return batch.Encode(process, spans, len(names), 1, batch.Stats{})
}

func traces() ptrace.Traces {
	all := ptrace.NewTraces()
	r := all.ResourceSpans().AppendEmpty()
	r.Resource().Attributes().PutStr("service.name", service)
	scope := r.ScopeSpans().AppendEmpty()
	for i, name := range names {
		s := scope.Spans().AppendEmpty()
		s.SetName(name)
		s.SetTraceID(pcommon.TraceID(otlp.NewTraceID(0, int64(i+1))))
		s.SetSpanID(pcommon.SpanID{7})
	}
	return all
}

// records are the same three spans in each format that is told apart.
func records(t testing.TB) map[string][]byte {
	t.Helper()
	proto, err := new(ptrace.ProtoMarshaler).MarshalTraces(traces())
	require.NoError(t, err)
	json, err := new(ptrace.JSONMarshaler).MarshalTraces(traces())
	require.NoError(t, err)
	return map[string][]byte{"jaeger_thrift": thriftRecord(t), "otlp_proto": proto, "otlp_json": json, "otlp_json with space before": append([]byte("\n\t "), json...)}
}

// operations returns the names of the spans in a record.
func operations(t *testing.T, value []byte) (names []string) {
	t.Helper()
	held, err := Parse(value)
	require.NoError(t, err)
	decoded, err := held.Decode()
	require.NoError(t, err)
	for _, r := range decoded.ResourceSpans().All() {
		for _, scope := range r.ScopeSpans().All() {
			for _, s := range scope.Spans().All() {
				names = append(names, s.Name())
			}
		}
	}
	return names
}

func TestFormatsAreToldApart(t *testing.T) {
	for name, value := range records(t) {
		t.Run(name, func(t *testing.T) {
			held, err := Parse(value)
			require.NoError(t, err)
			assert.Equal(t, value, held.Bytes())
			assert.Equal(t, 3, held.Len())
			assert.Equal(t, service, held.Service())
			_, thrift := held.Thrift()
			assert.Equal(t, name == "jaeger_thrift", thrift)
			assert.Equal(t, names, operations(t, value))
			assert.Equal(t, value, held.Slice(0, 3), "the whole record stays as it is")
			assert.Equal(t, names[1:], operations(t, held.Slice(1, 3)))
			assert.Equal(t, names[1:2], operations(t, held.AppendOTLP(nil, 1, 2)))
			request := held.AppendOTLP([]byte("before"), 0, 3)
			assert.Equal(t, "before", string(request[:6]))
			_, err = otlp.Parse(request[6:])
			require.NoError(t, err)

			value, spans := held.Select(func(_ string, id otlp.TraceID) bool { return id == otlp.NewTraceID(0, 2) })
			assert.Equal(t, 1, spans)
			assert.Equal(t, names[1:2], operations(t, value))
			value, spans = held.Select(func(string, otlp.TraceID) bool { return false })
			assert.Zero(t, spans)
			assert.Nil(t, value)
		})
	}
}

// The fields of a batch may come in any order: one that begins with its number begins as
// a request of OTLP does.
func TestABatchThatBeginsWithItsNumber(t *testing.T) {
	value := thriftRecord(t)
	number := []byte{0x0a, 0, 3, 0, 0, 0, 0, 0, 0, 0, 1}
	at := bytes.Index(value, number)
	turned := slices.Concat(number, value[:at], value[at+len(number):])
	held, err := Parse(turned)
	require.NoError(t, err)
	_, thrift := held.Thrift()
	assert.True(t, thrift)
	assert.Equal(t, names, operations(t, turned))
}

func TestWhatHoldsNoSpans(t *testing.T) {
	for _, value := range []string{"", " ", "garbage", "{", `{"resourceSpans": 7}`, "\x0a\xff\xff", "\x0a\x05abc",
		`{"hello": 1}`, `{"resourceSpans": []}`, `{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "a"}]}]}]} {}`, "\x0a\x00", "\x0a\x03\x7a\x01a"} {
		held, err := Parse([]byte(value))
		assert.ErrorContains(t, err, "no ", "%q", value)
		assert.Zero(t, held)
		assert.Zero(t, held.Len())
		assert.Empty(t, held.Service())
	}
}

func TestJaegerProtoIsOneSpan(t *testing.T) {
	setting := Setting{Format: "jaeger_proto"}
	value, err := (&model.Span{
		TraceID: model.NewTraceID(0, 2), SpanID: 7, OperationName: "b", StartTime: time.Unix(1, 0), Duration: time.Second,
		Process: &model.Process{ServiceName: service},
	}).Marshal()
	require.NoError(t, err)
	held, err := setting.Parse(value)
	require.NoError(t, err)
	assert.Equal(t, 1, held.Len())
	assert.Equal(t, service, held.Service())
	assert.Equal(t, names[1:2], operations(t, held.AppendOTLP(nil, 0, 1)))
	chosen, _ := held.Select(func(_ string, id otlp.TraceID) bool { return id == otlp.NewTraceID(0, 2) })
	assert.Equal(t, value, chosen, "in its own format")
	_, err = setting.Parse([]byte("garbage"))
	assert.ErrorContains(t, err, "no span of jaeger_proto")
	held, err = Setting{}.Parse(thriftRecord(t))
	require.NoError(t, err)
	assert.Equal(t, 3, held.Len())
}
