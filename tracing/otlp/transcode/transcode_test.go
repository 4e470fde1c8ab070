package transcode_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/apache/thrift/lib/go/thrift"
	"github.com/jaegertracing/jaeger-idl/thrift-gen/jaeger"
	translator "github.com/open-telemetry/opentelemetry-collector-contrib/pkg/translator/jaeger"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"fault-tolerant-tracing/tracing/batch"
	"fault-tolerant-tracing/tracing/otlp/transcode"
)

// same compares what Append makes of a batch with what the published translation does,
// in the version of Jaeger 2.13. Append also tells what was sampled.
func same(t *testing.T, value []byte) {
	t.Helper()
	frame, err := batch.Parse(value)
	if err != nil {
		return
	}
	buffer := thrift.NewTMemoryBufferLen(len(value))
	buffer.Write(value)
	theirs := jaeger.NewBatch()
	require.NoError(t, theirs.Read(context.Background(), thrift.NewTBinaryProtocolConf(buffer, nil)))
	want, err := translator.ThriftToTraces(theirs)
	require.NoError(t, err)
	sampled(theirs, want)

	before := []byte("before")
	request, found := bytes.CutPrefix(transcode.Append(before, frame), before)
	require.True(t, found)
	got, err := new(ptrace.ProtoUnmarshaler).UnmarshalTraces(request)
	require.NoError(t, err)
	require.Equal(t, describe(want), describe(got))
}

func sampled(b *jaeger.Batch, traces ptrace.Traces) {
	if len(b.Spans) == 0 {
		return
	}
	spans, i := traces.ResourceSpans().At(0).ScopeSpans().At(0).Spans(), 0
	for _, s := range b.Spans {
		if !reflect.DeepEqual(s, jaeger.NewSpan()) {
			spans.At(i).SetFlags(uint32(s.Flags) & 1)
			i++
		}
	}
}

// describe writes down everything, attributes in the order of their keys.
func describe(traces ptrace.Traces) string {
	var b strings.Builder
	for _, rs := range traces.ResourceSpans().All() {
		fmt.Fprintf(&b, "resource %s\n", attributes(rs.Resource().Attributes()))
		for _, ss := range rs.ScopeSpans().All() {
			fmt.Fprintf(&b, "scope %q %q %s\n", ss.Scope().Name(), ss.Scope().Version(), attributes(ss.Scope().Attributes()))
			for _, s := range ss.Spans().All() {
				fmt.Fprintf(&b, "span %s %s %s %q %q %v %d %d flags %d, %d/%d/%d dropped, status %v %q, %s\n", s.TraceID(), s.SpanID(), s.ParentSpanID(),
					s.Name(), s.TraceState().AsRaw(), s.Kind(), s.StartTimestamp(), s.EndTimestamp(), s.Flags(),
					s.DroppedAttributesCount(), s.DroppedEventsCount(), s.DroppedLinksCount(), s.Status().Code(), s.Status().Message(), attributes(s.Attributes()))
				for _, e := range s.Events().All() {
					fmt.Fprintf(&b, "event %d %q %s\n", e.Timestamp(), e.Name(), attributes(e.Attributes()))
				}
				for _, l := range s.Links().All() {
					fmt.Fprintf(&b, "link %s %s %q %d %s\n", l.TraceID(), l.SpanID(), l.TraceState().AsRaw(), l.Flags(), attributes(l.Attributes()))
				}
			}
		}
	}
	return strings.ReplaceAll(b.String(), strings.Repeat("longer", 4000), "LONG")
}

func attributes(m pcommon.Map) string { return fmt.Sprintf("%d %#v", m.Len(), m.AsRaw()) }

func TestTheGoldenBatch(t *testing.T) {
	value, err := os.ReadFile(filepath.Join("..", "..", "batch", "testdata", "batch.thrift"))
	require.NoError(t, err)
	same(t, value)
}

func TestGeneratedBatches(t *testing.T) {
	for seed := range uint64(3000) {
		random := rand.New(rand.NewPCG(seed, 0))
		same(t, encode(t, generate(random.IntN)))
	}
}

// FuzzBytes begins with a batch as it is on the wire, FuzzFields with what decides about
// the fields of one.
func FuzzBytes(f *testing.F) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 0))
		f.Add(encode(f, generate(random.IntN)))
	}
	f.Fuzz(same)
}

func FuzzFields(f *testing.F) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 0))
		choices := make([]byte, 300)
		for i := range choices {
			choices[i] = byte(random.UintN(256))
		}
		f.Add(choices)
	}
	f.Fuzz(func(t *testing.T, choices []byte) {
		same(t, encode(t, generate(func(n int) int {
			if len(choices) < 2 {
				return 0
			}
			choice := int(binary.BigEndian.Uint16(choices)) % n
			choices = choices[2:]
			return choice
		})))
	})
}

func encode(t testing.TB, b *jaeger.Batch) []byte {
	t.Helper()
	buffer := thrift.NewTMemoryBuffer()
	require.NoError(t, b.Write(context.Background(), thrift.NewTBinaryProtocolConf(buffer, nil)))
	return buffer.Bytes()
}

// generate makes a batch; choose returns a number from 0 on, below n.
func generate(choose func(n int) int) *jaeger.Batch {
	g := generator(choose)
	b := &jaeger.Batch{Process: &jaeger.Process{ServiceName: g.text()}, Spans: []*jaeger.Span{}}
	if g(4) > 0 {
		b.Process.Tags = g.tags("hostname", "host.name", "jaeger.version", "opencensus.exporterversion", "service.name", "client-uuid", "ip")
	}
	for range g(4) {
		b.Spans = append(b.Spans, g.span())
	}
	return b
}

type generator func(n int) int

func (g generator) span() *jaeger.Span {
	s := jaeger.NewSpan()
	if g(20) == 0 {
		return s
	}
	s.TraceIdLow, s.TraceIdHigh, s.SpanId, s.ParentSpanId = g.number(), g.number(), g.number(), g.number()
	s.OperationName, s.Flags, s.StartTime, s.Duration = g.text(), int32(g.number()), g.number(), g.number()
	if g(2) == 0 {
		s.References = []*jaeger.SpanRef{}
		for range g(4) {
			s.References = append(s.References, &jaeger.SpanRef{
				RefType: jaeger.SpanRefType(g(3)), TraceIdLow: g.number(), TraceIdHigh: g.number(), SpanId: g.number(),
			})
		}
	}
	if g(4) > 0 {
		s.Tags = g.tags("span.kind", "error", "otel.status_code", "otel.status_description", "http.status_code",
			"http.response.status_code", "http.status_message", "otel.scope.name", "w3c.tracestate", "component", "a", "b")
	}
	if g(3) == 0 {
		s.Logs = []*jaeger.Log{}
		for range g(4) {
			l := &jaeger.Log{Timestamp: g.number(), Fields: []*jaeger.Tag{}}
			if g(4) > 0 {
				l.Fields = g.tags("event", "message", "error", "a")
			}
			s.Logs = append(s.Logs, l)
		}
	}
	return s
}

func (g generator) number() int64 {
	return []int64{0, 1, 2, 3, -1, 1_700_000_000_000_000, math.MaxInt64, math.MinInt64}[g(8)]
}

func (g generator) text() string {
	return []string{"", "client", "server", "producer", "consumer", "internal", "Ok", "error", "404", "500", "200", "399", "-1", "größer",
		"\xff\xfe", "stream-app", strings.Repeat("long", 40), strings.Repeat("longer", 4000)}[g(18)]
}

// tags has some of these keys, sometimes one of them twice, and sometimes many others.
func (g generator) tags(keys ...string) []*jaeger.Tag {
	tags := []*jaeger.Tag{}
	if g(20) == 0 {
		for i := range g(100) {
			tags = append(tags, g.tag(fmt.Sprint(i%70)))
		}
	}
	for range g(10) {
		tags = append(tags, g.tag(keys[g(len(keys))]))
	}
	return tags
}

func (g generator) tag(key string) *jaeger.Tag {
	t := &jaeger.Tag{Key: key, VType: jaeger.TagType(g(6))}
	set := t.VType
	if g(10) == 0 {
		set = jaeger.TagType(g(6)) // not the one that the type says
	}
	switch set {
	case jaeger.TagType_STRING:
		text := g.text()
		t.VStr = &text
	case jaeger.TagType_DOUBLE:
		number := []float64{0, 1.5, math.NaN(), math.Inf(-1), math.Copysign(0, -1)}[g(5)]
		t.VDouble = &number
	case jaeger.TagType_BOOL:
		truth := g(2) == 0
		t.VBool = &truth
	case jaeger.TagType_LONG:
		number := []int64{0, 200, 399, 404, 500, -1, math.MinInt64}[g(7)]
		t.VLong = &number
	case jaeger.TagType_BINARY:
		t.VBinary = []byte(g.text())
	}
	return t
}
