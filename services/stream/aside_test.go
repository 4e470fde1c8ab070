package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"fault-tolerant-tracing/services/internal/deadletter"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestWhatIsNoIntegerIsSetAsideAsItCame(t *testing.T) {
	tests := []struct {
		name   string
		value  []byte
		reason string
		number any // of the spans
	}{
		{"text", []byte("1.5"), `not an integer: "1.5"`, "1.5"},
		{"no text", []byte(" \xff7"), `not an integer: "\xff7"`, "\uFFFD7"},
		{"empty", []byte{}, "not an integer: empty value", nil},
		{"null", nil, "not an integer: null value", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := startBroker(t, 1)
			tracer, recorder := tracingtest.NewTracer(t, group)
			feedRecords(t, b, &kgo.Record{Key: []byte("given"), Value: tt.value, Headers: []kgo.RecordHeader{
				{Key: "uber-trace-id", Value: []byte("a:b:0:1")}, {Key: "own", Value: []byte("stays")},
				{Key: "Traceparent", Value: []byte("00-000000000000000000000000000000ff-000000000000000b-01")}, {Key: "tracestate", Value: []byte("of=another")},
			}})
			startStream(t, tracer, testConfig(b.Addr()))

			r := tracingtest.ReadTopic(t, b.Addr(), "number-dlq", 1)[0]

			assert.Equal(t, "given", string(r.Key))
			assert.Equal(t, string(tt.value), string(r.Value))
			assert.Equal(t, tt.value == nil, r.Value == nil, "null stays null")
			assert.Equal(t, "stays", tracingtest.Header(r, "own"))
			assert.Equal(t, tt.reason, tracingtest.Header(r, "dlq.reason"))
			assert.Equal(t, "number-topic", tracingtest.Header(r, "dlq.topic"))
			assert.Equal(t, "0", tracingtest.Header(r, "dlq.partition"))
			assert.Equal(t, "0", tracingtest.Header(r, "dlq.offset"))
			from, to := tracingtest.Named(t, recorder.Wait(t, 2), "From_number-topic"), tracingtest.Named(t, recorder.Wait(t, 2), "To_number-dlq")
			assert.Equal(t, "000000000000000b", from.ParentID)
			assert.Equal(t, from.ID, to.ParentID)
			assert.Equal(t, to.TraceID+":"+to.ID+":"+to.ParentID+":1", tracingtest.Header(r, "uber-trace-id"))
			assert.Equal(t, to.Traceparent(), tracingtest.Header(r, "traceparent"))
			for _, h := range r.Headers {
				assert.NotContains(t, []string{"Traceparent", "tracestate"}, h.Key, "of another trace")
			}
			assert.Equal(t, true, from.Tags["error"])
			assert.Equal(t, tt.reason, from.Logs[0]["message"])
			assert.Equal(t, tt.number, from.Tags[numberValue])
			assert.Equal(t, tt.number, to.Tags[numberValue])
			assert.NotContains(t, to.Tags, "error")
		})
	}
}

// deadLettersOf reads what was set aside, in the order of number-topic.
func deadLettersOf(t *testing.T, b *tracingtest.Broker, atLeast int) []*kgo.Record {
	t.Helper()
	records := tracingtest.ReadTopic(t, b.Addr(), "number-dlq", atLeast)
	slices.SortFunc(records, func(x, y *kgo.Record) int {
		return strings.Compare(tracingtest.Header(x, "dlq.offset"), tracingtest.Header(y, "dlq.offset"))
	})
	return records
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

// largest is what a topic takes by default, and Connect or a Java client may write.
const largest = 1_048_000

func TestARecordTooLargeToPassOnIsSetAsideWhole(t *testing.T) {
	t.Parallel()
	b := startBroker(t, 1)
	limitTopic(t, b, "number-topic", 8<<20) // the test writes all of them in one batch
	limitTopic(t, b, "number-dlq", deadletter.MaxBytes)
	tracer, _ := tracingtest.NewTracer(t, group)
	longest := bytes.Repeat([]byte("3"), maxNumber)
	tooLong := bytes.Repeat([]byte("4"), largest)
	garbage := random(largest)
	crowded := &kgo.Record{Value: random(1000)}
	for i := range 85_000 {
		crowded.Headers = append(crowded.Headers, kgo.RecordHeader{Key: strconv.Itoa(i)})
	}
	feedRecords(t, b, &kgo.Record{Value: longest}, &kgo.Record{Value: tooLong}, &kgo.Record{Value: garbage}, crowded, &kgo.Record{Value: []byte("6")})
	startStream(t, tracer, testConfig(b.Addr()))

	assert.Equal(t, "6", string(tracingtest.ReadTopic(t, b.Addr(), "even-topic", 1)[0].Value))
	assert.Equal(t, longest, tracingtest.ReadTopic(t, b.Addr(), "odd-topic", 1)[0].Value)
	aside := deadLettersOf(t, b, 3)
	require.Len(t, aside, 3)
	assert.Equal(t, "an integer too long for a record: 1048000 bytes, at most 999744", tracingtest.Header(aside[0], "dlq.reason"))
	for i, value := range [][]byte{tooLong, garbage, crowded.Value} {
		assert.True(t, bytes.Equal(value, aside[i].Value), "record %d is not whole", i)
		assert.Empty(t, tracingtest.Header(aside[i], "dlq.truncated"))
	}
	assert.GreaterOrEqual(t, len(aside[2].Headers), len(crowded.Headers))
	waitCommitted(t, b, 5)
}

func TestWhatTheDeadLetterTopicDoesNotTakeIsCut(t *testing.T) {
	tests := []struct {
		name  string
		limit int // of number-dlq
		bytes int
	}{
		{"larger than any dead letter", deadletter.MaxBytes, deadletter.MaxBytes + 1},
		{"topic with a limit too low", 1_000_000, largest},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := startBroker(t, 1)
			limitTopic(t, b, "number-topic", 8<<20)
			limitTopic(t, b, "number-dlq", tt.limit)
			tracer, recorder := tracingtest.NewTracer(t, group)
			garbage := random(tt.bytes)
			feed(t, b, []byte("small"), garbage, []byte("6"))
			s := startStream(t, tracer, testConfig(b.Addr()))

			aside := deadLettersOf(t, b, 2)
			require.Len(t, aside, 2)
			assert.Equal(t, "small", string(aside[0].Value))
			assert.Empty(t, tracingtest.Header(aside[0], "dlq.truncated"))
			assert.True(t, bytes.HasPrefix(garbage, aside[1].Value))
			assert.Greater(t, len(aside[1].Value), tt.limit/2)
			assert.Equal(t, strconv.Itoa(tt.bytes), tracingtest.Header(aside[1], "dlq.bytes"))
			assert.Equal(t, "true", tracingtest.Header(aside[1], "dlq.truncated"))
			assert.Equal(t, "1", tracingtest.Header(aside[1], "dlq.offset"))
			assert.Equal(t, "6", string(tracingtest.ReadTopic(t, b.Addr(), "even-topic", 1)[0].Value))
			waitCommitted(t, b, 3)
			assert.NotContains(t, s.log.String(), "processor stopped")
			assert.Len(t, recorder.Wait(t, 6), 6, "one To_ span for each")
		})
	}
}

func TestARecordIsNotCommittedBeforeItIsSetAside(t *testing.T) {
	t.Parallel()
	b := startBroker(t, 1)
	tracer, recorder := tracingtest.NewTracer(t, group)
	fault := refuse(b)
	feed(t, b, texts("2", "six", "4")...)
	s := startStream(t, tracer, testConfig(b.Addr()))
	s.waitLog(t, "could not set aside, trying again")
	assert.Equal(t, "4", string(tracingtest.ReadTopic(t, b.Addr(), "even-topic", 2)[1].Value))
	require.ErrorIs(t, s.stop(), context.Canceled)

	require.Equal(t, int64(1), committed(t, b), "the record would be lost")
	assert.NotContains(t, s.log.String(), "record set aside")
	for _, span := range recorder.Spans() {
		assert.Equal(t, span.Operation == "To_number-dlq", span.Tags["error"] == true && len(span.Logs) == 1 && strings.Contains(fmt.Sprint(span.Logs[0]["message"]), "authorization"))
	}
	fault.Remove()
	startStream(t, tracer, testConfig(b.Addr()))
	assert.Equal(t, "six", string(tracingtest.ReadTopic(t, b.Addr(), "number-dlq", 1)[0].Value))
	waitCommitted(t, b, 3)
}

// refuse has the broker refuse what is to be set aside.
func refuse(b *tracingtest.Broker) *kfake.FaultHandle {
	return b.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "number-dlq", Err: kerr.TopicAuthorizationFailed, Count: -1})
}

func TestNumbersBehindARecordThatCannotBeSetAsideAreSortedOnce(t *testing.T) {
	tests := []struct {
		name string
		fail func(*testing.T, *tracingtest.Broker) (mend func())
	}{
		{"missing topic", func(_ *testing.T, b *tracingtest.Broker) func() {
			return func() { b.CreateTopics(t, 1, "number-dlq") }
		}},
		{"refused", func(t *testing.T, b *tracingtest.Broker) func() {
			b.CreateTopics(t, 1, "number-dlq")
			return refuse(b).Remove
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := tracingtest.StartBroker(t)
			b.CreateTopics(t, 1, testConfig("").topics()...)
			mend := tt.fail(t, b)
			tracer, _ := tracingtest.NewTracer(t, group)
			feed(t, b, texts("2", "six", "4")...)
			s := startStream(t, tracer, testConfig(b.Addr()))
			require.Eventually(t, s.aside.failing, patience, 10*time.Millisecond)
			feed(t, b, texts("6", "8")...)
			tracingtest.ReadTopic(t, b.Addr(), "even-topic", 4)
			assert.Equal(t, [3]float64{1, 1, 0}, s.alerts(t))
			assert.Equal(t, int64(1), committed(t, b))

			mend()
			waitCommitted(t, b, 5)
			assert.Len(t, tracingtest.ReadTopic(t, b.Addr(), "even-topic", 4), 4)
			assert.Len(t, tracingtest.ReadTopic(t, b.Addr(), "number-dlq", 1), 1)
			assert.Equal(t, [3]float64{0, 0, 0}, s.alerts(t))
			assert.NotContains(t, s.log.String(), "processor stopped")
			assert.LessOrEqual(t, strings.Count(s.log.String(), "could not set aside"), 1)
		})
	}
}

// A member that joins must not stop the processor of one that has something to set aside: it would leave the
// group for that, and two such members would stop each other in turn.
func TestARebalanceLeavesWhatCannotBeSetAside(t *testing.T) {
	t.Parallel()
	b := tracingtest.StartBroker(t)
	b.CreateTopics(t, 2, testConfig("").topics()...)
	tracer, _ := tracingtest.NewTracer(t, group)
	feed(t, b, texts("six", "seven", "2", "4")...)
	first := startStream(t, tracer, testConfig(b.Addr()))
	require.Eventually(t, func() bool { return first.aside.waits() == 2 }, patience, 10*time.Millisecond)
	second := startStream(t, tracer, testConfig(b.Addr()))
	require.Eventually(t, func() bool { return first.aside.waits() == 1 && second.aside.waits() == 1 }, patience, 10*time.Millisecond)
	b.CreateTopics(t, 1, "number-dlq")
	waitCommitted(t, b, 4)
	assert.NotContains(t, first.log.String()+second.log.String(), "processor stopped")
}

func TestOnlyWhatIsLeftIsNoFaultOfTheProcessor(t *testing.T) {
	left := fmt.Errorf("partition 1: %w", list{errLeft})
	assert.True(t, isLeft(list{left, errLeft}))
	assert.False(t, isLeft(list{left, errors.New("could not emit")}))
	assert.False(t, isLeft(nil))
}

// list is how goka's errors come.
type list []error

func (l list) Error() string          { return errors.Join(l...).Error() }
func (l list) WrappedErrors() []error { return l }

func TestPoisonInPlentyIsSetAsideOnce(t *testing.T) {
	t.Parallel()
	b := startBroker(t, 3)
	tracer, _ := tracingtest.NewTracer(t, group)
	var values [][]byte
	for i := range 5000 {
		values = append(values, []byte("poison "+strconv.Itoa(i)))
	}
	feed(t, b, values...)
	s := startStream(t, tracer, testConfig(b.Addr()))

	waitCommitted(t, b, int64(len(values)))

	assert.Len(t, tracingtest.ReadTopic(t, b.Addr(), "number-dlq", len(values)), len(values))
	assert.NotContains(t, s.log.String(), "processor stopped")
}
