package main

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct{ value, want string }{
		{"6", "6"}, {"0", "0"}, {"-8", "-8"}, {"+4", "4"}, {"-0", "0"}, {"0012", "12"},
		{"123456789012345678901234567890", "123456789012345678901234567890"},
		{"", ""}, {"six", ""}, {"6.0", ""}, {"6 ", ""}, {"6\n", ""}, {"0x6", ""}, {"1_000", ""}, {"--6", ""}, {"6 + 1", ""}, {"\xff", ""}, {"٦", ""},
	} {
		got, err := parse([]byte(tt.value))
		assert.Equal(t, tt.want, got, "%q", tt.value)
		assert.Equal(t, tt.want == "", err != nil, "%q", tt.value)
	}
	_, err := parse(nil)
	assert.EqualError(t, err, "no value")
}

// requireEachOnce waits for the sentences of the numbers and requires that there
// is one of each, keyed by the number, in the order of the numbers' partitions.
func requireEachOnce(t *testing.T, broker *tracingtest.Broker, first, last int) {
	t.Helper()
	records := tracingtest.ReadTopic(t, broker.Addr(), "sentence-topic", (last-first)/2+1)
	seen := map[int]bool{}
	lastOf := map[[2]int32]int{} // by partition read and partition written
	for _, r := range records {  // by partition and offset
		n, err := strconv.Atoi(string(r.Key))
		require.NoError(t, err)
		assert.Equal(t, fmt.Sprintf("%d + 1", n), string(r.Value))
		assert.False(t, seen[n], "%d twice", n)
		seen[n] = true
		way := [2]int32{partition(n), r.Partition}
		assert.Greater(t, n, lastOf[way], "order from partition %d to %d", way[0], way[1])
		lastOf[way] = n
	}
	for n := first; n <= last; n += 2 {
		assert.True(t, seen[n], "%d is missing", n)
	}
}

func TestSentencesWhileRandomIsAwayAndBack(t *testing.T) {
	t.Parallel()
	broker, random := newBroker(t), startRandom(t)
	start(t, broker, random.URL)
	produce(t, broker, numbers(2, 60)...)
	tracingtest.ReadTopic(t, broker.Addr(), "sentence-topic", 30)

	random.become(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	produce(t, broker, numbers(62, 120)...)
	random.awaitAsked(t, 3)
	random.become(says(`{"number":1}`))

	requireEachOnce(t, broker, 2, 120)
}

func TestBadAnswersOfRandomSkipNothing(t *testing.T) {
	broken := map[string]http.HandlerFunc{
		"500": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, `{"number":2}`, 500) },
		"404": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, `{"number":2}`, 404) },
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusMovedPermanently)
		},
		"no JSON":        says("1"),
		"cut off":        says(`{"number":`),
		"no number":      says(`{}`),
		"null":           says(`{"number":null}`),
		"text":           says(`{"number":"1"}`),
		"too large":      says(`{"number":10}`),
		"below zero":     says(`{"number":-1}`),
		"not a whole":    says(`{"number":1.5}`),
		"endless":        says(`{"number":2` + strings.Repeat(" ", 1<<20) + `}`),
		"hangs too long": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	}
	for name, answer := range broken {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broker, random := newBroker(t), startRandom(t)
			random.become(answer)
			start(t, broker, random.URL)
			produce(t, broker, numbers(2, 6)...)
			random.awaitAsked(t, 2)
			random.become(says(`{"number":1}`))
			requireEachOnce(t, broker, 2, 6)
		})
	}
}

func TestASlowRandomOnlyTakesTime(t *testing.T) {
	t.Parallel()
	broker, random := newBroker(t), startRandom(t)
	random.become(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(200 * time.Millisecond):
		case <-r.Context().Done():
		}
		says(`{"number":1}`)(w, r)
	})
	start(t, broker, random.URL)
	produce(t, broker, numbers(2, 30)...)
	requireEachOnce(t, broker, 2, 30)
}

func TestBadRecordsAmongGoodOnesAreSetAside(t *testing.T) {
	t.Parallel()
	broker, random := newBroker(t), startRandom(t)
	huge := strings.Repeat("2", 1_000_000)
	produce(t, broker,
		number(2),
		&kgo.Record{Key: []byte("k"), Value: []byte("six"), Partition: 1, Headers: []kgo.RecordHeader{{Key: "x", Value: []byte("y")}}},
		&kgo.Record{Key: []byte("null"), Partition: 1},
		&kgo.Record{Value: []byte{}, Partition: 1},
		&kgo.Record{Value: []byte(huge), Partition: 1},
		&kgo.Record{Value: []byte("-8"), Partition: 1}, // no key
		&kgo.Record{Value: []byte("+0010"), Partition: 1},
	)
	start(t, broker, random.URL)

	var values []string
	for _, r := range tracingtest.ReadTopic(t, broker.Addr(), "sentence-topic", 3) {
		values = append(values, string(r.Key)+": "+string(r.Value))
	}
	assert.ElementsMatch(t, []string{"2: 2 + 1", "-8: -8 + 1", "10: 10 + 1"}, values)

	aside := tracingtest.ReadTopic(t, broker.Addr(), "even-dlq", 4)
	require.Len(t, aside, 4)
	slices.SortFunc(aside, func(a, b *kgo.Record) int {
		return cmp.Compare(tracingtest.Header(a, "dlq.offset"), tracingtest.Header(b, "dlq.offset"))
	})
	for i, want := range []struct{ key, value, reason string }{
		{"k", "six", `not an integer: "six"`},
		{"null", "", "no value"},
		{"", "", `not an integer: ""`},
		{"", huge, "produce to sentence-topic: Broker: Message size too large"},
	} {
		assert.Equal(t, want.key, string(aside[i].Key))
		assert.True(t, want.value == string(aside[i].Value), "value of %d bytes", len(aside[i].Value))
		assert.Equal(t, want.reason, tracingtest.Header(aside[i], "dlq.reason"))
		assert.Equal(t, "even-topic", tracingtest.Header(aside[i], "dlq.topic"))
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
	broker, random := newBroker(t), startRandom(t)
	start(t, broker, random.URL)
	huge := []byte(strings.Repeat("x", 3_000_000))
	produce(t, broker, &kgo.Record{Key: []byte("k"), Value: huge, Partition: 1})
	produce(t, broker, numbers(2, 12)...)
	requireEachOnce(t, broker, 2, 12)
	aside := tracingtest.ReadTopic(t, broker.Addr(), "even-dlq", 1)
	require.Len(t, aside, 1)
	assert.Equal(t, "even-topic 1/0", fmt.Sprintf("%s %s/%s", tracingtest.Header(aside[0], "dlq.topic"), tracingtest.Header(aside[0], "dlq.partition"), tracingtest.Header(aside[0], "dlq.offset")))
	assert.Equal(t, "true", tracingtest.Header(aside[0], "dlq.truncated"))
	assert.Equal(t, strconv.Itoa(len("k")+len(huge)), tracingtest.Header(aside[0], "dlq.bytes"))
	assert.Contains(t, tracingtest.Header(aside[0], "dlq.reason"), "not an integer")
	assert.Equal(t, "k", string(aside[0].Key))
	assert.Greater(t, len(aside[0].Value), 1<<20, "as much as there is room for")
}

func TestSentencesSurviveARestartOfTheBroker(t *testing.T) {
	t.Parallel()
	broker, random := newBroker(t), startRandom(t)
	start(t, broker, random.URL)
	produce(t, broker, numbers(2, 60)...)
	random.awaitAsked(t, 1)
	broker.Stop()
	require.NoError(t, broker.Start())
	produce(t, broker, numbers(62, 120)...)

	seen := map[string]bool{}
	require.Eventually(t, func() bool { // at least once: a sentence may be there twice
		for _, r := range tracingtest.ReadTopic(t, broker.Addr(), "sentence-topic", 60) {
			seen[string(r.Value)] = true
		}
		return len(seen) == 60
	}, patience, 50*time.Millisecond)
}

func TestANumberIsDrawnOnceHoweverOftenItsSentenceIsRefused(t *testing.T) {
	t.Parallel()
	broker, random := newBroker(t), startRandom(t)
	refused := make(chan struct{})
	broker.Cluster().ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		req := r.(*kmsg.ProduceRequest)
		if req.Topics[0].Topic != "sentence-topic" {
			return nil, nil, false
		}
		answer := kmsg.NewProduceResponseTopic()
		answer.Topic = "sentence-topic"
		part := kmsg.NewProduceResponseTopicPartition()
		part.Partition, part.ErrorCode = req.Topics[0].Partitions[0].Partition, kerr.TopicAuthorizationFailed.Code
		answer.Partitions = append(answer.Partitions, part)
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		resp.Topics = append(resp.Topics, answer)
		random.become(says(`{"number":2}`))
		close(refused)
		return resp, nil, true
	})
	start(t, broker, random.URL)
	produce(t, broker, number(2))
	<-refused
	requireEachOnce(t, broker, 2, 2)
}

func TestStoppingFinishesWhatIsInFlight(t *testing.T) {
	t.Parallel()
	broker, random := newBroker(t), startRandom(t)
	entered := make(chan struct{}, 100)
	random.become(func(w http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		time.Sleep(20 * time.Millisecond) // what is in flight takes its time
		says(`{"number":1}`)(w, r)
	})
	produce(t, broker, numbers(2, 120)...)
	stop := start(t, broker, random.URL)
	for range 10 {
		<-entered
	}
	require.NoError(t, stop())
	start(t, broker, random.URL)
	requireEachOnce(t, broker, 2, 120)
}

func TestStoppingWhileKafkaIsAwayIsBounded(t *testing.T) {
	t.Parallel()
	broker, random := newBroker(t), startRandom(t)
	stop := start(t, broker, random.URL)
	produce(t, broker, numbers(2, 12)...)
	tracingtest.ReadTopic(t, broker.Addr(), "sentence-topic", 6)
	hangs := make(chan struct{})
	random.become(func(_ http.ResponseWriter, r *http.Request) { close(hangs); <-r.Context().Done() })
	produce(t, broker, number(14))
	<-hangs
	broker.Stop()
	begin := time.Now()
	// the spans of the last number; a busy machine may take longer than a second to release the producer
	assert.Regexp(t, "close tracer: .*(left behind|still busy)", stop())
	assert.Less(t, time.Since(begin), shutdownTimeout+5*time.Second)

	require.NoError(t, broker.Start()) // for the client that was left behind closing
}

func TestSpansOfANumber(t *testing.T) {
	t.Parallel()
	broker, random := newBroker(t), startRandom(t)
	tracing := newBroker(t)        // the spans have a cluster of their own
	header := make(chan string, 1) // as random saw it
	random.become(func(w http.ResponseWriter, r *http.Request) {
		header <- r.Header.Get("Uber-Trace-Id")
		says(`{"number":1}`)(w, r)
	})
	start(t, broker, random.URL, "TRACING_KAFKA_BROKERS="+tracing.Addr())
	record := number(6)
	record.Headers = []kgo.RecordHeader{{Key: "uber-trace-id", Value: []byte("a:b:0:1")}}
	produce(t, broker, record)

	spans := map[string]tracingtest.Span{}
	for _, s := range tracingtest.SpansOnTopic(t, tracing.Addr(), "tracing-topic", 4) {
		assert.Equal(t, "000000000000000a", s.TraceID)
		assert.Equal(t, "sentence", s.Service)
		assert.NotContains(t, s.Tags, "error")
		spans[s.Operation] = s
	}
	require.Len(t, spans, 4)
	from, client, post, to := spans["From_even-topic"], spans["POST /random"], spans["HTTP POST"], spans["To_sentence-topic"]
	assert.Equal(t, "000000000000000b", from.ParentID)
	assert.Equal(t, from.ID, client.ParentID)
	assert.Equal(t, client.ID, post.ParentID)
	assert.Equal(t, from.ID, to.ParentID)
	assert.Equal(t, "6", from.Tags["number.value"])
	assert.Equal(t, "6", to.Tags["number.value"])
	assert.EqualValues(t, 1, from.Tags["random.number"])
	assert.Equal(t, "consumer", from.Tags["span.kind"])
	assert.Equal(t, "producer", to.Tags["span.kind"])
	assert.Contains(t, <-header, post.ID)

	written := tracingtest.ReadTopic(t, broker.Addr(), "sentence-topic", 1)[0]
	assert.Len(t, written.Headers, 2)
	assert.Contains(t, tracingtest.Header(written, "uber-trace-id"), to.ID)
	assert.Equal(t, to.Traceparent(), tracingtest.Header(written, "traceparent"))
	assert.EqualValues(t, written.Offset, to.Tags["offset"])
}

func TestAMalformedTraceHeaderStartsANewTrace(t *testing.T) {
	t.Parallel()
	broker, random := newBroker(t), startRandom(t)
	start(t, broker, random.URL)
	for i, header := range []string{"", "hello", "0:0:0:0", strings.Repeat("a:", 1000), "\xff"} {
		record := number(2 * (i + 1))
		record.Headers = []kgo.RecordHeader{{Key: "uber-trace-id", Value: []byte(header)}}
		produce(t, broker, record)
	}
	requireEachOnce(t, broker, 2, 10)
	traces := map[string]bool{}
	for _, s := range tracingtest.SpansOnTopic(t, broker.Addr(), "tracing-topic", 20) {
		if s.Operation == "From_even-topic" {
			assert.Empty(t, s.ParentID)
			traces[s.TraceID] = true
		}
	}
	assert.Len(t, traces, 5)
}

func TestTheErrorOfARecordIsOnItsSpan(t *testing.T) {
	t.Parallel()
	broker, random := newBroker(t), startRandom(t)
	start(t, broker, random.URL)
	produce(t, broker, &kgo.Record{Value: []byte("six")})
	spans := tracingtest.SpansOnTopic(t, broker.Addr(), "tracing-topic", 2)
	require.Len(t, spans, 2)
	from, to := tracingtest.Named(t, spans, "From_even-topic"), tracingtest.Named(t, spans, "To_even-dlq")
	assert.Equal(t, true, from.Tags["error"])
	assert.Equal(t, "six", from.Tags["number.value"])
	assert.Equal(t, "six", to.Tags["number.value"])
	require.NotEmpty(t, from.Logs)
	assert.Equal(t, `not an integer: "six"`, from.Logs[0]["message"])
	assert.Equal(t, from.ID, to.ParentID)
	assert.NotContains(t, to.Tags, "error")
}
