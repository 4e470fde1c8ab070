package verdict

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"fault-tolerant-tracing/tracing/tracingtest"
)

func TestMain(m *testing.M) { tracingtest.VerifyMain(m) }

// judge compares without brokers and Jaeger.
func judge(numbers []Number, topic, inJaeger []Span) Result {
	c := New(nil, nil, nil)
	for _, n := range numbers {
		c.numbers.Fed = append(c.numbers.Fed, &n)
	}
	return look(c, topic, inJaeger)
}

func look(c *Checker, topic, inJaeger []Span) Result {
	c.follow()
	for _, s := range topic {
		c.span(s, 0)
	}
	for _, t := range c.traces {
		c.compare(t, slices.DeleteFunc(slices.Clone(inJaeger), func(s Span) bool { return s.TraceID != t.id }))
	}
	c.tidy()
	return c.result()
}

// whole returns the spans that a number must produce, in a trace of this id.
func whole(number int64, trace string) []Span {
	chain := links(number)
	spans := make([]Span, len(chain))
	for i, l := range chain {
		spans[i] = Span{TraceID: trace, ID: trace + string(rune('a'+i)), Service: l.service, Operation: l.operation, Start: int64(i)}
		if l.parent >= 0 {
			spans[i].ParentID = spans[l.parent].ID
		}
	}
	return spans
}

func TestJudgeNumbers(t *testing.T) {
	even := Number{Value: 6, TraceID: "1", Arrived: true}
	odd := Number{Value: 7, TraceID: "2", Arrived: true}
	both := slices.Concat(whole(6, "1"), whole(7, "2"))
	without := func(i int) []Span { return slices.Delete(slices.Clone(both), i, i+1) }
	changed := func(i int, change func(*Span)) []Span {
		spans := slices.Clone(both)
		change(&spans[i])
		return spans
	}
	tests := []struct {
		name     string
		numbers  []Number
		jaeger   []Span
		want     string
		problems []string
	}{
		{"all there", []Number{even, odd}, both, "traces 2/2, spans 11/11, lost 0, duplicated 0", nil},
		{"nothing there", []Number{even, odd}, nil, "traces 0/2, spans 0/11, lost 11, duplicated 0", nil},
		{"a span in the middle is lost", []Number{even, odd}, without(4), "traces 1/2, spans 10/11, lost 1, duplicated 0",
			[]string{"number 6, trace 1: sentence: HTTP POST is missing"}},
		{"the root is lost", []Number{even, odd}, without(9), "traces 1/2, spans 10/11, lost 1, duplicated 0",
			[]string{"number 7, trace 2: stream: From_number-topic is missing"}},
		{"a wrong parent is no loss and no whole trace", []Number{even, odd},
			changed(8, func(s *Span) { s.ParentID = "1a" }), "traces 1/2, spans 11/11, lost 0, duplicated 0",
			[]string{`number 6, trace 1: answer: To_answer-topic hangs below span "1a" instead of "1h"`}},
		{"a parent at the root is a hole in the chain", []Number{even, odd},
			changed(0, func(s *Span) { s.ParentID = "9" }), "traces 1/2, spans 11/11, lost 0, duplicated 0",
			[]string{`number 6, trace 1: stream: From_number-topic hangs below span "9" instead of ""`}},
		{"the server's span is not the client's", []Number{even, odd},
			changed(5, func(s *Span) { s.Service = "sentence" }), "traces 1/2, spans 10/11, lost 1, duplicated 0", nil},
		{"a span too many", []Number{odd}, append(whole(7, "2"), Span{TraceID: "2", ID: "x", ParentID: "2a", Service: "stream",
			Operation: "To_odd-topic"}), "traces 0/1, spans 2/2, lost 0, duplicated 0", []string{"number 7, trace 2: 1 span(s) too many"}},
		{"a span returned twice", []Number{even, odd}, append(slices.Clone(both), both[3]),
			"traces 2/2, spans 11/11, lost 0, duplicated 1", nil},
		{"a number on its way counts apart", []Number{even, {Value: 8, TraceID: "3"}}, both,
			"traces 1/1, spans 9/9, lost 0, duplicated 0", []string{"number 8 did not arrive"}},
		{"a number whose trace nobody knows", []Number{{Value: 7, Arrived: true}}, both,
			"traces 0/1, spans 0/2, lost 2, duplicated 0", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := judge(test.numbers, nil, test.jaeger)
			assert.Equal(t, test.want, r.String())
			if test.problems != nil {
				assert.Equal(t, test.problems, r.Problems)
			}
			assert.Equal(t, r.Problems == nil, r.Complete(), "complete means no problems: %v", r.Problems)
		})
	}
}

func TestJudgeTheTopic(t *testing.T) {
	number := Number{Value: 7, TraceID: "2", Arrived: true}
	other := Span{TraceID: "5", ID: "5a", Service: "topic-config", Operation: "create topics", Tags: map[string]string{"topic": "string x"}}
	written := append(whole(7, "2"), other)
	change := other
	change.Tags = map[string]string{"topic": "string y"}

	tests := []struct {
		name           string
		topic, jaeger  []Span
		missing, other int
		duplicated     int
		complete       bool
	}{
		{"the same", written, written, 0, 0, 0, true},
		{"a span of no number is missing", written, whole(7, "2"), 1, 0, 0, false},
		{"a tag has changed", written, append(whole(7, "2"), change), 0, 1, 0, false},
		{"written twice, and sent on twice", append(slices.Clone(written), other), append(slices.Clone(written), other), 0, 0, 1, true},
		{"Jaeger has more, of other runs", written, append(slices.Clone(written), Span{TraceID: "6", ID: "6a"}), 0, 0, 0, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := judge([]Number{number}, test.topic, test.jaeger)
			assert.Equal(t, 3, r.TopicSpans)
			assert.Equal(t, test.missing, r.TopicMissing)
			assert.Equal(t, test.other, r.TopicDiffer)
			assert.Equal(t, test.duplicated, r.Duplicated)
			assert.Equal(t, test.complete, r.Complete(), "%v", r.Problems)
		})
	}
}

func TestTheExampleIsTheLongestWholeTrace(t *testing.T) {
	numbers := []Number{{Value: 7, TraceID: "2", Arrived: true}, {Value: 6, TraceID: "1", Arrived: true}, {Value: 8, TraceID: "3", Arrived: true}}
	spans := slices.Concat(whole(7, "2"), whole(8, "3"), whole(6, "1")[1:])
	assert.Equal(t, "3", judge(numbers, nil, spans).Example)
	assert.Empty(t, judge(numbers, nil, nil).Example)
}

func TestNothingFedIsNotComplete(t *testing.T) {
	assert.False(t, judge(nil, nil, nil).Complete())
}

func TestDifferencesNamesEachField(t *testing.T) {
	want := Span{
		ParentID: "1", Links: []string{"FOLLOWS_FROM 1/2"}, Service: "stream", Operation: "To_even-topic", Start: 5, Duration: 6,
		Tags: map[string]string{"a": "int64 1", "b": "int64 2"}, Process: map[string]string{"ip": "string x"},
		Logs: []Log{{Time: 5, Fields: map[string]string{"event": "string e"}}},
	}
	assert.Empty(t, Differences(want, want))

	assert.Equal(t, want.digest(), want.digest())

	changes := map[string]func(*Span){
		"parent is 2 and was written as 1":                               func(s *Span) { s.ParentID = "2" },
		"list of references is [] and was written as [FOLLOWS_FROM 1/2]": func(s *Span) { s.Links = nil },
		"service is x and was written as stream":                         func(s *Span) { s.Service = "x" },
		"operation is x and was written as To_even-topic":                func(s *Span) { s.Operation = "x" },
		"start is 6 and was written as 5":                                func(s *Span) { s.Start = 6 },
		"duration is 5 and was written as 6":                             func(s *Span) { s.Duration = 5 },
		"tag a is string 1 and was written as int64 1":                   func(s *Span) { s.Tags["a"] = "string 1" },
		"tag b is missing":                                               func(s *Span) { delete(s.Tags, "b") },
		"tag c was not written":                                          func(s *Span) { s.Tags["c"] = "bool true" },
		"process tag ip is missing":                                      func(s *Span) { s.Process = nil },
		"log 0, field event is missing; time of log 0 is missing":        func(s *Span) { s.Logs = nil },
		"time of log 0 is 6 and was written as 5":                        func(s *Span) { s.Logs[0].Time = 6 },
		"log 0, field event is missing":                                  func(s *Span) { s.Logs[0].Fields = nil },
	}
	for problems, change := range changes {
		got := want
		got.Tags = maps.Clone(want.Tags)
		got.Logs = slices.Clone(want.Logs)
		change(&got)
		assert.Equal(t, problems, strings.Join(Differences(want, got), "; "))
		assert.NotEqual(t, want.digest(), got.digest(), problems)
	}
}

func TestNumbersFollowsTheTopics(t *testing.T) {
	record := func(topic, value, header string) *kgo.Record {
		r := kgo.StringRecord(value)
		r.Topic = topic
		if header != "" {
			r.Headers = []kgo.RecordHeader{{Key: "other"}, {Key: "uber-trace-id", Value: []byte(header)}}
		}
		return r
	}
	records := []*kgo.Record{
		record("even-topic", "6", "00000000000000aa:1:0:b"),
		record("even-topic", "6", "bb:1:0:1"),
		record("answer-topic", `{"number":6,"answer":9}`, "aa:2:1:1"),
		record("odd-topic", "7", "1000000000000000000000000000000f:1:0:1"),
		record("odd-topic", "9", "no context"),
		record("odd-topic", "poison", "dd:1:0:1"),
		record("answer-topic", `{"answer":9}`, "ee:2:1:1"),
		record("answer-topic", "poison", ""),
		record("even-topic", "4", "cc:1:0:1"),
	}
	fed := func(values ...string) (records []*kgo.Record) {
		for _, v := range values {
			records = append(records, record("number-topic", v, ""))
		}
		return records
	}
	follow := func(records []*kgo.Record) (found []Number) {
		f := Follow(nil)
		for _, r := range records {
			f.add(r)
		}
		for _, n := range f.Fed {
			found = append(found, Number{Value: n.Value, TraceID: n.TraceID, Arrived: n.Arrived})
		}
		return found
	}
	numbers := fed("6", "6", "7", " 9\n", "no number", "4", "2")
	want := []Number{
		{Value: 6, TraceID: "aa", Arrived: true},
		{Value: 6, TraceID: "bb", Arrived: false}, // fed twice, answered once
		{Value: 7, TraceID: "1000000000000000000000000000000f", Arrived: true},
		{Value: 9, TraceID: "", Arrived: true},
		{Value: 4, TraceID: "cc", Arrived: false},
		{Value: 2, TraceID: "", Arrived: false},
	}
	assert.Equal(t, want, follow(slices.Concat(numbers, records)))
	assert.Equal(t, want, follow(slices.Concat(records, numbers)), "topics are read in no particular order")
}

func TestOfANumberThatHasGoneAllTheWayNothingIsLeft(t *testing.T) {
	f := Follow(nil)
	f.add(&kgo.Record{Topic: numberTopic, Value: []byte("6")})
	f.add(&kgo.Record{Topic: evenTopic, Value: []byte("6")})
	assert.Len(t, f.trails, 1)
	f.add(&kgo.Record{Topic: answerTopic, Value: []byte(`{"number":6}`)})
	assert.Empty(t, f.trails)
}

func TestWhatIsSettledTakesNoRoom(t *testing.T) {
	c := New(nil, nil, nil)
	numbers := []Number{{Value: 6, TraceID: "1", Arrived: true}, {Value: 7, TraceID: "2", Arrived: true}, {Value: 9, TraceID: "3", Arrived: true}}
	for _, n := range numbers {
		c.numbers.Fed = append(c.numbers.Fed, &n)
	}
	spans := slices.Concat(whole(6, "1"), whole(7, "2"), whole(9, "3"))
	r := look(c, spans, spans[:12])
	assert.Equal(t, "traces 2/3, spans 12/13, lost 1, duplicated 0", r.String())
	assert.Equal(t, 1, r.TopicMissing)
	require.Len(t, c.open, 1)
	require.Len(t, c.traces, 1)
	assert.Len(t, c.byID, 1)
	assert.Len(t, c.traces[0].written, 1)

	r = look(c, nil, spans)
	assert.True(t, r.Complete(), "%v", r.Problems)
	assert.Equal(t, "traces 3/3, spans 13/13, lost 0, duplicated 0", r.String())
	assert.Empty(t, c.open)
	assert.Empty(t, c.traces)
	assert.Empty(t, c.byID)
}

func TestASpanMoreOpensATraceAgain(t *testing.T) {
	c := New(nil, nil, nil)
	c.numbers.Fed = []*Number{{Value: 7, TraceID: "2", Arrived: true}}
	spans := whole(7, "2")
	require.True(t, look(c, spans, spans).Complete())
	more := Span{TraceID: "2", ID: "x", Service: "stream", Operation: "To_odd-topic"}
	r := look(c, []Span{more}, append(spans, more))
	assert.Equal(t, "traces 0/1, spans 2/2, lost 0, duplicated 0", r.String())
	assert.Equal(t, []string{"number 7, trace 2: 1 span(s) too many"}, r.Problems)
	assert.Equal(t, 3, r.TopicSpans)
}

func TestTimesAreCutAsJaegerDoes(t *testing.T) {
	for nanos, want := range map[int64]int64{1999: 1, 0: 0, -1: 0, -1999: -1, -1_662_925_604_929_501_250: -1_662_925_604_929_501} {
		assert.Equal(t, want, micros(pcommon.Timestamp(uint64(nanos))), "%d ns", nanos)
	}
}
