package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestSolve(t *testing.T) {
	for _, tt := range []struct{ name, sentence, want string }{
		{"as designed", "6 + 1", `{"number":6,"random":1,"sentence":"6 + 1","completeSentence":"6 + 1 = 7","answer":7}`},
		{"zero", "0 + 0", `{"number":0,"random":0,"sentence":"0 + 0","completeSentence":"0 + 0 = 0","answer":0}`},
		{"negative", "-8 + 9", `{"number":-8,"random":9,"sentence":"-8 + 9","completeSentence":"-8 + 9 = 1","answer":1}`},
		{"negative sum", "-80 + 9", `{"number":-80,"random":9,"sentence":"-80 + 9","completeSentence":"-80 + 9 = -71","answer":-71}`},
		{
			"larger than any machine's integers, exact", "99999999999999999999999999999999999998 + 4",
			`{"number":99999999999999999999999999999999999998,"random":4,"sentence":"99999999999999999999999999999999999998 + 4",` +
				`"completeSentence":"99999999999999999999999999999999999998 + 4 = 100000000000000000000000000000000000002",` +
				`"answer":100000000000000000000000000000000000002}`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, err := solve([]byte(tt.sentence))
			require.NoError(t, err)
			got, err := json.Marshal(a)
			require.NoError(t, err)
			assert.Equal(t, tt.want, string(got))
		})
	}
}

func TestSolveRefusesWhatIsNoSentence(t *testing.T) {
	for _, value := range []string{
		"", "6", "6 +", "6 + ", "+ 1", "6 + 10", "6 + -1", "6 - 1", "6+1", "6  + 1", " 6 + 1", "6 + 1 ", "6 + 1\n", "6 + 1 = 7",
		"06 + 1", "+6 + 1", "-0 + 1", "--6 + 1", "6.0 + 1", "six + 1", "6 + one", "٦ + 1", "\xff", "6 + 1\x00",
	} {
		_, err := solve([]byte(value))
		assert.EqualError(t, err, fmt.Sprintf("not a sentence such as \"6 + 1\": %q", value))
	}
}

// sentences makes a record of each number from the first to the last, spread
// over the partitions.
func sentences(first, last int) []*kgo.Record {
	var records []*kgo.Record
	for n := first; n <= last; n++ {
		records = append(records, sentenceOf(n))
	}
	return records
}

func sentenceOf(n int) *kgo.Record {
	return &kgo.Record{Key: fmt.Append(nil, n), Value: fmt.Appendf(nil, "%d + 2", n), Partition: partition(n)}
}

func partition(n int) int32 { return int32(n % 3) }

// requireEachOnce waits for the answers of the numbers and requires that there is
// one of each, in the order of the partitions that were read.
func requireEachOnce(t *testing.T, broker *tracingtest.Broker, first, last int) {
	t.Helper()
	seen := map[int]bool{}
	lastOf := map[[2]int32]int{} // by partition read and partition written
	for _, r := range tracingtest.ReadTopic(t, broker.Addr(), "answer-topic", last-first+1) {
		n, err := strconv.Atoi(string(r.Key))
		require.NoError(t, err)
		assert.JSONEq(t, fmt.Sprintf(`{"number":%d,"random":2,"sentence":"%[1]d + 2","completeSentence":"%[1]d + 2 = %[2]d","answer":%[2]d}`, n, n+2), string(r.Value))
		assert.False(t, seen[n], "%d twice", n)
		seen[n] = true
		way := [2]int32{partition(n), r.Partition}
		assert.Greater(t, n, lastOf[way], "order from partition %d to %d", way[0], way[1])
		lastOf[way] = n
	}
	for n := first; n <= last; n++ {
		assert.True(t, seen[n], "%d is missing", n)
	}
}

func TestAnswersToSentences(t *testing.T) {
	t.Parallel()
	broker := newBroker(t)
	start(t, broker)
	produce(t, broker, sentences(1, 300)...)
	requireEachOnce(t, broker, 1, 300)
}

func TestBadRecordsAmongGoodOnesAreSetAside(t *testing.T) {
	t.Parallel()
	broker := newBroker(t)
	huge := strings.Repeat("2", 400_000) + " + 2" // three of it are in the answer
	produce(t, broker,
		sentenceOf(1),
		&kgo.Record{Key: []byte("k"), Value: []byte("six"), Partition: 1, Headers: []kgo.RecordHeader{{Key: "x", Value: []byte("y")}}},
		&kgo.Record{Key: []byte("null"), Partition: 1},
		&kgo.Record{Value: []byte{}, Partition: 1},
		&kgo.Record{Value: []byte(huge), Partition: 1},
		&kgo.Record{Value: []byte("4 + 2"), Partition: 1}, // no key
	)
	start(t, broker)
	requireKeys(t, broker, "1", "4")

	aside := tracingtest.ReadTopic(t, broker.Addr(), "sentence-dlq", 4)
	require.Len(t, aside, 4)
	slices.SortFunc(aside, func(a, b *kgo.Record) int {
		return cmp.Compare(tracingtest.Header(a, "dlq.offset"), tracingtest.Header(b, "dlq.offset"))
	})
	for i, want := range []struct{ key, value, reason string }{
		{"k", "six", `not a sentence such as "6 + 1": "six"`},
		{"null", "", `not a sentence such as "6 + 1": ""`},
		{"", "", `not a sentence such as "6 + 1": ""`},
		{"", huge, "produce to answer-topic: Broker: Message size too large"},
	} {
		assert.Equal(t, want.key, string(aside[i].Key))
		assert.True(t, want.value == string(aside[i].Value), "value of %d bytes", len(aside[i].Value))
		assert.Equal(t, want.reason, tracingtest.Header(aside[i], "dlq.reason"))
		assert.Equal(t, "sentence-topic", tracingtest.Header(aside[i], "dlq.topic"))
		assert.Equal(t, "1", tracingtest.Header(aside[i], "dlq.partition"))
		assert.Equal(t, strconv.Itoa(i+1), tracingtest.Header(aside[i], "dlq.offset"))
	}
	assert.Nil(t, aside[1].Value)
	assert.Equal(t, kgo.RecordHeader{Key: "x", Value: []byte("y")}, aside[0].Headers[0])
}

// Compressed, a record of any size comes through a topic with the usual limit. What is
// set aside of it says where the whole is.
func TestARecordThatIsLargerThanADeadLetterIsCut(t *testing.T) {
	t.Parallel()
	broker := newBroker(t)
	start(t, broker)
	huge := []byte(strings.Repeat("x", 3_000_000))
	produce(t, broker, &kgo.Record{Key: []byte("k"), Value: huge, Partition: 1})
	produce(t, broker, sentences(1, 6)...)
	requireEachOnce(t, broker, 1, 6)
	aside := tracingtest.ReadTopic(t, broker.Addr(), "sentence-dlq", 1)
	require.Len(t, aside, 1)
	assert.Equal(t, "sentence-topic 1/0", fmt.Sprintf("%s %s/%s", tracingtest.Header(aside[0], "dlq.topic"), tracingtest.Header(aside[0], "dlq.partition"), tracingtest.Header(aside[0], "dlq.offset")))
	assert.Equal(t, "true", tracingtest.Header(aside[0], "dlq.truncated"))
	assert.Equal(t, strconv.Itoa(len("k")+len(huge)), tracingtest.Header(aside[0], "dlq.bytes"))
	assert.Contains(t, tracingtest.Header(aside[0], "dlq.reason"), "not a sentence")
	assert.Equal(t, "k", string(aside[0].Key))
	assert.Greater(t, len(aside[0].Value), 1<<20, "as much as there is room for")
}

func requireKeys(t *testing.T, broker *tracingtest.Broker, want ...string) {
	t.Helper()
	var keys []string
	for _, r := range tracingtest.ReadTopic(t, broker.Addr(), "answer-topic", len(want)) {
		keys = append(keys, string(r.Key))
	}
	require.ElementsMatch(t, want, keys)
}

func TestAnswersSurviveARestartOfTheBroker(t *testing.T) {
	t.Parallel()
	broker := newBroker(t)
	start(t, broker)
	produce(t, broker, sentences(1, 100)...)
	tracingtest.ReadTopic(t, broker.Addr(), "answer-topic", 1)
	broker.Stop()
	require.NoError(t, broker.Start())
	produce(t, broker, sentences(101, 200)...)

	seen := map[string]bool{}
	require.Eventually(t, func() bool { // at least once: an answer may be there twice
		for _, r := range tracingtest.ReadTopic(t, broker.Addr(), "answer-topic", 200) {
			seen[string(r.Key)] = true
		}
		return len(seen) == 200
	}, patience, 50*time.Millisecond)
}

func TestStoppingInTheMiddleRepeatsNothing(t *testing.T) {
	t.Parallel()
	broker := newBroker(t)
	produce(t, broker, sentences(1, 2000)...)
	stop := start(t, broker)
	tracingtest.ReadTopic(t, broker.Addr(), "answer-topic", 1)
	require.NoError(t, stop())
	before := len(tracingtest.ReadTopic(t, broker.Addr(), "answer-topic", 1))
	t.Logf("stopped after %d of 2000", before)
	start(t, broker)
	requireEachOnce(t, broker, 1, 2000)
}

func TestSpansOfASentence(t *testing.T) {
	t.Parallel()
	broker, tracing := newBroker(t), newBroker(t) // the spans have a cluster of their own
	start(t, broker, "TRACING_KAFKA_BROKERS="+tracing.Addr())
	record := sentenceOf(6)
	record.Headers = []kgo.RecordHeader{{Key: "uber-trace-id", Value: []byte("a%3Ab%3A0%3A1")}} // as old Java clients write it
	produce(t, broker, record)

	spans := map[string]tracingtest.Span{}
	for _, s := range tracingtest.SpansOnTopic(t, tracing.Addr(), "tracing-topic", 2) {
		assert.Equal(t, "000000000000000a", s.TraceID)
		assert.Equal(t, "answer", s.Service)
		assert.NotContains(t, s.Tags, "error")
		spans[s.Operation] = s
	}
	require.Len(t, spans, 2)
	from, to := spans["From_sentence-topic"], spans["To_answer-topic"]
	assert.Equal(t, "000000000000000b", from.ParentID)
	assert.Equal(t, from.ID, to.ParentID)
	assert.Equal(t, "6", from.Tags["number.value"])
	assert.Equal(t, "6", to.Tags["number.value"])
	assert.EqualValues(t, 2, from.Tags["random.number"])

	written := tracingtest.ReadTopic(t, broker.Addr(), "answer-topic", 1)[0]
	assert.Len(t, written.Headers, 2)
	assert.Contains(t, tracingtest.Header(written, "uber-trace-id"), to.ID)
	assert.Equal(t, to.Traceparent(), tracingtest.Header(written, "traceparent"))
}

func TestNoHeaderKeepsAnAnswerFromItsTopic(t *testing.T) {
	t.Parallel()
	broker := newBroker(t)
	start(t, broker)
	record := sentenceOf(6)
	record.Headers = []kgo.RecordHeader{
		{Key: "uber-trace-id", Value: []byte("a:b:0:1")},
		{Key: "uberctx-user id", Value: []byte("x")},
		{Key: "uberctx-k", Value: bytes.Repeat([]byte("\n"), 400_000)}, // three times as long when it is encoded
	}
	produce(t, broker, record)

	requireEachOnce(t, broker, 6, 6)
	written := tracingtest.ReadTopic(t, broker.Addr(), "answer-topic", 1)[0]
	assert.Len(t, written.Headers, 2, "those of the context itself")
	from := tracingtest.Named(t, tracingtest.SpansOnTopic(t, broker.Addr(), "tracing-topic", 2), "From_sentence-topic")
	assert.Equal(t, "000000000000000b", from.ParentID)
	assert.Equal(t, `"user id", "k"`, from.Tags["baggage.dropped"])
}

func TestTheErrorOfARecordIsOnItsSpan(t *testing.T) {
	t.Parallel()
	broker := newBroker(t)
	start(t, broker)
	produce(t, broker, &kgo.Record{Value: []byte("six"), Headers: []kgo.RecordHeader{{Key: "uber-trace-id", Value: []byte("hello")}}})
	spans := tracingtest.SpansOnTopic(t, broker.Addr(), "tracing-topic", 2)
	require.Len(t, spans, 2)
	from, to := tracingtest.Named(t, spans, "From_sentence-topic"), tracingtest.Named(t, spans, "To_sentence-dlq")
	assert.Empty(t, from.ParentID)
	assert.Equal(t, true, from.Tags["error"])
	require.NotEmpty(t, from.Logs)
	assert.Equal(t, `not a sentence such as "6 + 1": "six"`, from.Logs[0]["message"])
	assert.Equal(t, from.ID, to.ParentID)
	assert.NotContains(t, to.Tags, "error")
}
