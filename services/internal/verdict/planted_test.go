package verdict

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	protocol "github.com/uber/jaeger-client-go/thrift"
	thrift "github.com/uber/jaeger-client-go/thrift-gen/jaeger"

	"fault-tolerant-tracing/services/internal/jaeger"
)

// journey is that of the spans of two numbers, 6 and 7: what is written to tracing-topic, and what comes to Jaeger.
type journey struct {
	written, arrives []*thrift.Batch
	unanswered       bool // 6 has no answer
}

// picked is the span that something happens to: "HTTP POST" of sentence, in the middle of the chain.
const picked = 5

// of6 returns the batch and the index of a span of number 6.
func of6(batches []*thrift.Batch, id int64) (*thrift.Batch, int) {
	for _, b := range batches {
		for i, s := range b.Spans {
			if s.SpanId == id && s.Tags[0].GetVLong() == 6 {
				return b, i
			}
		}
	}
	panic("no such span")
}

// change changes a span on its way.
func change(f func(s *thrift.Span)) func(*journey) {
	return func(j *journey) {
		b, i := of6(j.arrives, picked)
		f(b.Spans[i])
	}
}

func drop(batches []*thrift.Batch) {
	b, i := of6(batches, picked)
	b.Spans = slices.Delete(b.Spans, i, i+1)
}

// another is a copy of a span on its way, changed.
func another(f func(s *thrift.Span)) func(*journey) {
	return func(j *journey) {
		b, i := of6(j.arrives, picked)
		twin := *b.Spans[i]
		f(&twin)
		b.Spans = append(b.Spans, &twin)
	}
}

// Spans are dropped, changed and doubled on their way to a real Jaeger, each time in another way, and each is reported as what it is.
func TestPlantedLossesAreReported(t *testing.T) {
	t.Parallel()
	const (
		it      = "span 5 (sentence: HTTP POST) of trace T"
		missing = it + " is on tracing-topic and not in Jaeger"
		lacks   = "number 6, trace T: sentence: HTTP POST is missing"
	)
	tests := []struct {
		name     string
		plant    func(*journey)
		want     Phase
		problems []string
	}{
		{"nothing happens", func(*journey) {}, Phase{}, nil},
		{"a span is dropped", func(j *journey) { drop(j.arrives) }, Phase{Found: -1, Lost: 1}, []string{missing, lacks}},
		{"a span never comes to the topic", func(j *journey) { drop(j.arrives); drop(j.written) }, Phase{Sent: -1, Found: -1, Lost: 1}, []string{lacks}},
		{"a record is dropped", func(j *journey) {
			j.arrives = slices.DeleteFunc(j.arrives, func(b *thrift.Batch) bool { return b.Process.ServiceName == "random" })
		}, Phase{Found: -1, Lost: 1}, []string{
			"span 6 (random: POST /random) of trace T is on tracing-topic and not in Jaeger", "number 6, trace T: random: POST /random is missing",
		}},
		{"an id changes", change(func(s *thrift.Span) { s.SpanId = 99 }), Phase{Found: -1, Lost: 1}, []string{
			missing, `number 6, trace T: random: POST /random hangs below span "5" instead of "63"`,
		}},
		{"it goes to another trace", change(func(s *thrift.Span) { s.TraceIdHigh = 1 }), Phase{Found: -1, Lost: 1}, []string{missing, lacks}},
		{"the parent changes", change(func(s *thrift.Span) { s.ParentSpanId = 1 }), Phase{Found: -1, Changed: 1}, []string{
			it + ": parent is 1 and was written as 4", `number 6, trace T: sentence: HTTP POST hangs below span "1" instead of "4"`,
		}},
		{"the operation changes", change(func(s *thrift.Span) { s.OperationName = "HTTP GET" }), Phase{Found: -1, Changed: 1}, []string{
			it + ": operation is HTTP GET and was written as HTTP POST", lacks, "number 6, trace T: 1 span(s) too many",
		}},
		{"a tag changes", change(func(s *thrift.Span) { s.Tags[1] = tag("text", "seven") }), Phase{Found: -1, Changed: 1},
			[]string{it + ": tag text is string seven and was written as string six"}},
		{"the type of a tag changes", change(func(s *thrift.Span) { s.Tags[0] = tag("number", "6") }), Phase{Found: -1, Changed: 1},
			[]string{it + ": tag number is string 6 and was written as int64 6"}},
		{"a tag is dropped", change(func(s *thrift.Span) { s.Tags = s.Tags[:1] }), Phase{Found: -1, Changed: 1}, []string{it + ": tag text is missing"}},
		{"a tag comes up", change(func(s *thrift.Span) { s.Tags = append(s.Tags, tag("late", true)) }), Phase{Found: -1, Changed: 1}, []string{it + ": tag late was not written"}},
		{"a log changes", change(func(s *thrift.Span) { s.Logs[1].Fields[0] = tag("event", "done?") }), Phase{Found: -1, Changed: 1},
			[]string{it + ": log 1, field event is string done? and was written as string done"}},
		{"a log is dropped", change(func(s *thrift.Span) { s.Logs = s.Logs[:1] }), Phase{Found: -1, Changed: 1},
			[]string{it + ": log 1, field event is missing", it + ": time of log 1 is missing"}},
		{"a log moves in time", change(func(s *thrift.Span) { s.Logs[1].Timestamp++ }), Phase{Found: -1, Changed: 1}, []string{it + ": time of log 1 is 13 and was written as 12"}},
		{"a reference is dropped", change(func(s *thrift.Span) { s.References = nil }), Phase{Found: -1, Changed: 1},
			[]string{it + ": list of references is [] and was written as [FOLLOWS_FROM abc/def]"}},
		{"a reference changes", change(func(s *thrift.Span) { s.References[0].SpanId++ }), Phase{Found: -1, Changed: 1},
			[]string{it + ": list of references is [FOLLOWS_FROM abc/df0] and was written as [FOLLOWS_FROM abc/def]"}},
		{"the duration changes", change(func(s *thrift.Span) { s.Duration = 8 }), Phase{Found: -1, Changed: 1}, []string{it + ": duration is 8 and was written as 7"}},
		{"the start changes", change(func(s *thrift.Span) { s.StartTime++ }), Phase{Found: -1, Changed: 1}, []string{it + ": start is START1 and was written as START"}},
		{"the process changes", func(j *journey) {
			b, _ := of6(j.arrives, 6)
			b.Process.Tags[0] = tag("ip", "10.0.0.2")
		}, Phase{Found: -1, Changed: 1}, []string{"span 6 (random: POST /random) of trace T: process tag ip is string 10.0.0.2 and was written as string 10.0.0.1"}},
		{"the service changes", func(j *journey) {
			b, _ := of6(j.arrives, 6)
			b.Process.ServiceName = "other"
		}, Phase{Found: -1, Changed: 1}, []string{
			"span 6 (random: POST /random) of trace T: service is other and was written as random",
			"number 6, trace T: random: POST /random is missing", "number 6, trace T: 1 span(s) too many",
		}},
		{"a record is written twice", func(j *journey) { j.written = append(j.written, j.written[2]) }, Phase{Duplicated: 1}, nil},
		{"a span comes twice, and Jaeger keeps one", another(func(*thrift.Span) {}), Phase{}, nil},
		{"a span comes twice, as two", another(func(s *thrift.Span) { s.StartTime-- }), Phase{Duplicated: 1}, nil},
		{"a span comes twice, with two ids", another(func(s *thrift.Span) { s.SpanId = 99 }), Phase{}, []string{"number 6, trace T: 1 span(s) too many"}},
		{"a span has no id of a trace", func(j *journey) {
			b, _ := of6(j.written, picked)
			alone := &thrift.Batch{Process: b.Process, Spans: []*thrift.Span{{SpanId: time.Now().UnixNano(), OperationName: "alone", Flags: 1, StartTime: time.Now().UnixMicro()}}}
			j.written, j.arrives = append(j.written, alone), append(j.arrives, alone)
		}, Phase{Sent: 1, Found: 1}, nil},
		{"a number is lost", func(j *journey) { j.unanswered = true }, Phase{}, []string{"number 6 did not arrive"}},
		{"all is lost", func(j *journey) { j.arrives = nil }, Phase{Found: -11, Lost: 11}, nil},
	}
	p := jaeger.StartForTest(t)
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			start, trace := time.Now().UnixMicro(), int64(0x1000+2*i)
			j := &journey{written: both(trace, start), arrives: both(trace, start)}
			test.plant(j)
			r := j.judge(t, p, trace)
			test.want.Sent += 11
			test.want.Found += 11
			require.Len(t, r.Phases, 1)
			assert.Equal(t, test.want, r.Phases[0])
			assert.Equal(t, test.want.Lost == 0 && test.want.Changed == 0 && !j.unanswered, r.NothingLost(), "%v", r.Problems)
			if test.problems == nil && test.want.Lost == 0 {
				assert.True(t, r.Complete(), "%v", r.Problems)
			}
			if test.want.Lost == 11 {
				assert.Len(t, r.Problems, 2*11)
				return
			}
			names := strings.NewReplacer(fmt.Sprintf("trace %x", trace), "trace T", fmt.Sprint(start+1), "START1", fmt.Sprint(start), "START")
			var told []string
			for _, problem := range r.Problems {
				told = append(told, names.Replace(problem))
			}
			assert.Equal(t, test.problems, told)
		})
	}
}

// both returns the spans of 6 and 7, whose traces have that id and the next one: a batch of each service.
func both(trace, start int64) (batches []*thrift.Batch) {
	for i, number := range []int64{6, 7} {
		for id, l := range links(number) {
			at := slices.IndexFunc(batches, func(b *thrift.Batch) bool { return b.Process.ServiceName == l.service })
			if at < 0 {
				at = len(batches)
				batches = append(batches, &thrift.Batch{Process: &thrift.Process{ServiceName: l.service, Tags: []*thrift.Tag{tag("ip", "10.0.0.1")}}})
			}
			batches[at].Spans = append(batches[at].Spans, &thrift.Span{
				TraceIdLow: trace + int64(i), SpanId: int64(id + 1), ParentSpanId: int64(l.parent + 1), OperationName: l.operation, Flags: 1,
				StartTime: start, Duration: 7,
				Tags:       []*thrift.Tag{tag("number", number), tag("text", "six")},
				Logs:       []*thrift.Log{{Timestamp: 11, Fields: []*thrift.Tag{tag("event", "begun")}}, {Timestamp: 12, Fields: []*thrift.Tag{tag("event", "done")}}},
				References: []*thrift.SpanRef{{RefType: thrift.SpanRefType_FOLLOWS_FROM, TraceIdLow: 0xabc, SpanId: 0xdef}},
			})
		}
	}
	return batches
}

// judge lets the numbers pass, and their spans take their way.
func (j *journey) judge(t *testing.T, p *jaeger.Process, trace int64) Result {
	t.Helper()
	r := start(t)
	r.query = jaeger.NewQuery(p.QueryURL())
	t.Cleanup(r.query.Close)
	pass := func(topic, value string, trace int64) {
		r.records = append(r.records, &kgo.Record{Topic: topic, Value: []byte(value),
			Headers: []kgo.RecordHeader{{Key: "uber-trace-id", Value: fmt.Appendf(nil, "%x:1:0:1", trace)}}})
	}
	pass(numberTopic, "6", 0)
	pass(numberTopic, "7", 0)
	pass(evenTopic, "6", trace)
	pass(oddTopic, "7", trace+1)
	if !j.unanswered {
		pass(answerTopic, `{"number":6}`, trace)
	}
	for _, b := range j.written {
		r.records = append(r.records, &kgo.Record{Topic: tracingTopic, Value: encode(t, b)})
	}
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for _, b := range j.arrives {
		resp, err := client.Post(p.Endpoint()+"?format=jaeger.thrift", "application/x-thrift", bytes.NewReader(encode(t, b)))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, 2, resp.StatusCode/100)
	}
	return r.check(t)
}

func encode(t *testing.T, b *thrift.Batch) []byte {
	t.Helper()
	buffer := protocol.NewTMemoryBuffer()
	require.NoError(t, b.Write(t.Context(), protocol.NewTBinaryProtocolConf(buffer, nil)))
	return buffer.Bytes()
}
