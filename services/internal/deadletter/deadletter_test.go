package deadletter

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/opentracing/opentracing-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/tracingtest"
)

const (
	topic    = "tracing-dlq"
	patience = time.Minute
)

func TestMain(m *testing.M) { tracingtest.VerifyMain(m) }

// office is a dead-letter topic and a queue that writes to it.
type office struct {
	*Queue
	broker   *tracingtest.Broker
	producer *kafkaclient.Producer
}

// newOffice makes the topic unless maxBytes, the size of the largest batch that it
// takes, is 0.
func newOffice(t *testing.T, maxBytes int) *office {
	t.Helper()
	o := &office{broker: tracingtest.StartBroker(t)}
	if maxBytes > 0 {
		o.makeTopic(t, maxBytes)
	}
	var err error
	o.producer, err = NewProducer(kafkaclient.Cluster{Brokers: []string{o.broker.Addr()}}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { o.close(t) })
	o.Queue = New(o.producer, topic)
	return o
}

func (o *office) makeTopic(t *testing.T, maxBytes int) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(o.broker.Addr()))
	require.NoError(t, err)
	defer client.Close()
	limit := strconv.Itoa(maxBytes)
	_, err = kadm.NewClient(client).CreateTopic(t.Context(), 1, 1, map[string]*string{"max.message.bytes": &limit}, topic)
	require.NoError(t, err)
}

// close ends the producer when it has delivered what it has.
func (o *office) close(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(t, o.producer.Close(ctx))
}

func (o *office) write(t *testing.T, l Letter) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, o.Write(ctx, l))
}

// entries closes the producer, and returns all that is on the topic.
func (o *office) entries(t *testing.T, atLeast int) []Entry {
	t.Helper()
	o.close(t)
	var entries []Entry
	for _, r := range tracingtest.ReadTopic(t, o.broker.Addr(), topic, atLeast) {
		m := &kafka.Message{Key: r.Key, Value: r.Value}
		names := map[string]bool{}
		for _, h := range r.Headers {
			assert.False(t, names[h.Key] && strings.HasPrefix(h.Key, "dlq."), "header %s is there twice", h.Key)
			names[h.Key] = true
			m.Headers = append(m.Headers, kafka.Header{Key: h.Key, Value: h.Value})
		}
		assert.Equal(t, names[HeaderBytes], names[HeaderTruncated])
		entries = append(entries, Read(m))
	}
	return entries
}

func garbage(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

func letter(value []byte, headers ...kafka.Header) Letter {
	return Letter{Topic: "tracing-topic", Partition: 3, Offset: 1 << 40, Key: []byte("client-1"), Value: value, Headers: headers, Reason: errors.New("jaeger answered 400")}
}

func TestALetterIsWhole(t *testing.T) {
	o := newOffice(t, MaxBytes)
	own := []kafka.Header{header("uber-trace-id", "1"), header("null", ""), header("uber-trace-id", "2")}
	o.write(t, letter([]byte("garbage"), own...))
	o.write(t, Letter{Topic: "t", Reason: errors.New("null")})

	entries := o.entries(t, 2)
	require.Len(t, entries, 2)
	for i := range entries {
		assert.WithinDuration(t, time.Now(), entries[i].Time, patience)
		entries[i].Time = time.Time{}
	}
	assert.Equal(t, Entry{
		Topic: "tracing-topic", Partition: 3, Offset: 1 << 40, Reason: "jaeger answered 400",
		Key: []byte("client-1"), Value: []byte("garbage"), Headers: own,
	}, entries[0])
	assert.Equal(t, Entry{Topic: "t", Reason: "null"}, entries[1], "null stays null")
	assert.Zero(t, o.Cut())
}

// What was set aside before, and came back to a topic with its headers, has them
// once.
func TestHeadersOfAnEarlierSettingAsideAreReplaced(t *testing.T) {
	o := newOffice(t, MaxBytes)
	l := letter([]byte("v"), header(HeaderOffset, "7"), header("own", "kept"), header(HeaderBytes, "7"), header(HeaderTruncated, "true"), header(HeaderReason, "old"))
	headers := len(l.Headers)
	o.write(t, l)
	assert.Len(t, l.Headers, headers, "the caller's are left as they are")
	assert.Equal(t, HeaderOffset, l.Headers[0].Key)

	e := o.entries(t, 1)[0]
	assert.Equal(t, []kafka.Header{header("own", "kept")}, e.Headers)
	assert.EqualValues(t, 1<<40, e.Offset)
	assert.Equal(t, "jaeger answered 400", e.Reason)
	assert.Zero(t, e.CutFrom)
}

func TestWhatIsTooLargeIsCut(t *testing.T) {
	large := strings.Repeat("h", 700_000)
	crowd := make([]kafka.Header, 300_000)
	for i := range crowd {
		crowd[i] = header(strconv.Itoa(i), "")
	}
	tests := []struct {
		name      string
		topic     int // what it takes
		letter    Letter
		cutFrom   int
		atLeast   int // bytes of the value that are left
		ownHeader bool
	}{
		{"value of 3 MB", MaxBytes, letter(garbage(3_000_000), header("own", "kept")), 3_000_000 + 15, MaxBytes - 500, true},
		{"value of 7 MB", MaxBytes, letter(garbage(7_000_000), header("own", "kept")), 7_000_000 + 15, MaxBytes - 500, true},
		{"a byte too many", MaxBytes, letter(garbage(MaxBytes), header("own", "kept")), MaxBytes + 15, MaxBytes - 500, true},
		{"three large headers", MaxBytes, letter([]byte("garbage"), header("a", large), header("b", large), header("own", "kept"), header("c", large)), 8 + 7 + 3 + 2_100_000 + 7, 7, true},
		{"one header of 2 MiB", MaxBytes, letter([]byte("garbage"), header("own", "kept"), header("a", large+large+large)), 8 + 7 + 1 + 2_100_000 + 7, 7, true},
		{"300 000 headers", MaxBytes, letter(garbage(1<<20), crowd...), 8 + 1<<20 + 1_688_890, 1 << 20, false},
		{"key of 2 MiB", MaxBytes, Letter{Topic: "t", Key: garbage(MaxBytes), Value: garbage(100), Reason: errors.New("no")}, MaxBytes + 100, 100, false},
		{"topic with the default limit", 1_048_588, letter(garbage(1_048_500), header("own", "kept")), 1_048_500 + 15, 500_000, true},
		{"topic that takes 500 bytes", 500, letter(garbage(1_048_500), header("own", "lost?")), 1_048_500 + 16, 0, false},
		{"topic that takes 500 bytes, with a long reason", 500, Letter{Topic: "tracing-topic", Value: []byte("x"), Reason: errors.New("a" + strings.Repeat("ä", 10_000))}, 1, 0, false},
		{"cut before", 1000, Letter{Topic: "t", Value: garbage(100_000), Reason: errors.New("no"), CutFrom: 3_000_000}, 3_000_000, 0, false},
		{"cut before and small enough", 1000, Letter{Topic: "t", Value: garbage(100), Reason: errors.New("no"), CutFrom: 3_000_000}, 3_000_000, 100, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := newOffice(t, tt.topic)
			o.write(t, tt.letter)
			small := letter([]byte("s"))
			small.Key = nil
			o.write(t, small)
			assert.EqualValues(t, 1, o.Cut())

			entries := o.entries(t, 2)
			require.Len(t, entries, 2)
			e := entries[0]
			assert.Equal(t, tt.cutFrom, e.CutFrom)
			assert.True(t, bytes.HasPrefix(tt.letter.Value, e.Value))
			assert.GreaterOrEqual(t, len(e.Value), tt.atLeast)
			assert.True(t, bytes.HasPrefix(tt.letter.Key, e.Key))
			assert.Greater(t, len(e.Reason), min(len(tt.letter.Reason.Error()), 50)-1)
			assert.True(t, strings.HasPrefix(tt.letter.Reason.Error(), e.Reason))
			assert.True(t, utf8.ValidString(e.Reason), "half a character")
			assert.Equal(t, []any{tt.letter.Topic, tt.letter.Partition, tt.letter.Offset}, []any{e.Topic, e.Partition, e.Offset}, "where the whole is")
			if tt.ownHeader {
				assert.Contains(t, e.Headers, header("own", "kept"))
			}
			assert.Zero(t, entries[1].CutFrom, "its neighbour is whole")
			assert.Equal(t, "s", string(entries[1].Value))
		})
	}
}

// The largest record of any other topic stays whole, and so does a letter of
// exactly the size that the topic takes.
func TestWhatFitsIsNotCut(t *testing.T) {
	o := newOffice(t, MaxBytes)
	exact := letter(nil, header("own", "kept"))
	exact.Value = garbage(MaxBytes)
	for newDraft(exact, exact.Headers).size() > MaxBytes-9 { // trailing zeros of the time
		exact.Value = exact.Value[1:]
	}
	crowded := letter([]byte("v"))
	for range 500_000 {
		crowded.Headers = append(crowded.Headers, kafka.Header{})
	}
	o.write(t, exact)
	o.write(t, crowded)
	entries := o.entries(t, 2)
	require.Len(t, entries, 2)
	assert.Equal(t, exact.Value, entries[0].Value)
	assert.Len(t, entries[1].Headers, 500_000)
	assert.Zero(t, o.Cut())
}

// A topic that takes not even the headers gives an error, and no endless loop.
func TestATopicThatTakesNothing(t *testing.T) {
	o := newOffice(t, 150)
	err := o.Write(t.Context(), letter(garbage(1000)))
	assert.ErrorContains(t, err, "produce to tracing-dlq: ")
	assert.True(t, tooLarge(err))
}

// Letters that are refused for their size do not take others along, nor come
// twice.
func TestManyAtOnce(t *testing.T) {
	const letters = 1000
	o := newOffice(t, 500)
	var writers sync.WaitGroup
	for i := range letters {
		l := letter([]byte(strconv.Itoa(i)))
		l.Offset = int64(i)
		if i%100 == 0 {
			l.Value = garbage(2000)
		}
		writers.Go(func() { assert.NoError(t, o.Write(t.Context(), l)) })
	}
	writers.Wait()
	entries := o.entries(t, letters)
	require.Len(t, entries, letters)
	seen := map[int64]bool{}
	for _, e := range entries {
		assert.False(t, seen[e.Offset], "%d twice", e.Offset)
		seen[e.Offset] = true
		assert.Equal(t, e.Offset%100 == 0, e.CutFrom > 0)
	}
	assert.EqualValues(t, letters/100, o.Cut())
}

// A refusal is remembered, so that letters do not hold up each other, but not for
// good: the limit may be raised.
func TestARefusalIsRememberedForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New(nil, topic)
		q.learn(1000, 600)
		q.learn(2000, 1200)
		assert.Equal(t, refusal{1000, 600}, *q.refusal.Load())
		time.Sleep(forgetAfter / 2)
		q.learn(600, 400)
		time.Sleep(forgetAfter - 1)
		synctest.Wait()
		assert.Equal(t, refusal{600, 400}, *q.refusal.Load())
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		assert.Nil(t, q.refusal.Load())
	})
}

func TestALetterIsNotSentInASizeThatWasRefused(t *testing.T) {
	o := newOffice(t, 500)
	var asked atomic.Int64
	o.broker.Cluster().ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		o.broker.Cluster().KeepControl()
		asked.Add(1)
		return nil, nil, false
	})
	for range 10 {
		o.write(t, letter(garbage(1000)))
	}
	assert.EqualValues(t, 13, asked.Load(), "the first one took four tries")
	assert.EqualValues(t, 10, o.Cut())
}

// While the topic is missing a letter waits, and it is delivered once.
func TestATopicThatIsMadeLater(t *testing.T) {
	o := newOffice(t, 0)
	asked := make(chan struct{}, 1000)
	o.broker.Cluster().ControlKey(int16(kmsg.Metadata), func(kmsg.Request) (kmsg.Response, error, bool) {
		o.broker.Cluster().KeepControl()
		asked <- struct{}{}
		return nil, nil, false
	})
	answers := make(chan error, 1)
	go func() { answers <- o.Write(t.Context(), letter([]byte("waits"))) }()
	for range 5 {
		select {
		case <-asked:
		case err := <-answers:
			t.Fatalf("it did not wait: %v", err)
		case <-time.After(patience):
			t.Fatal("the producer does not ask for the topic")
		}
	}
	o.makeTopic(t, MaxBytes)
	select {
	case err := <-answers:
		require.NoError(t, err)
	case <-time.After(patience):
		t.Fatal("the letter waits although the topic is there")
	}
	assert.Len(t, o.entries(t, 1), 1)
}

func TestWriteEndsWithItsContext(t *testing.T) {
	o := newOffice(t, 0)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	assert.ErrorIs(t, o.Write(ctx, letter([]byte("waits"))), context.DeadlineExceeded)
	o.makeTopic(t, MaxBytes)
	assert.Len(t, o.entries(t, 1), 1, "it is delivered all the same")
}

func TestARefusalIsReturned(t *testing.T) {
	o := newOffice(t, MaxBytes)
	fault := o.broker.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: kerr.TopicAuthorizationFailed, Count: -1})
	err := o.Write(t.Context(), letter([]byte("v")))
	assert.EqualError(t, err, "produce to tracing-dlq: Broker: Topic authorization failed")
	fault.Remove()
	require.EventuallyWithT(t, func(c *assert.CollectT) { // the client remembers it for a while
		assert.NoError(c, o.Write(t.Context(), letter([]byte("v"))))
	}, patience, 10*time.Millisecond)
	assert.Len(t, o.entries(t, 1), 1)
}

func TestASpanTracesTheDelivery(t *testing.T) {
	o := newOffice(t, 1000)
	tracer, recorder := tracingtest.NewTracer(t, "test")
	from := tracer.StartSpan("From_tracing-topic")
	ctx := opentracing.ContextWithSpan(t.Context(), from)
	require.NoError(t, o.Write(ctx, letter(garbage(10_000), header("uber-trace-id", "a:b:0:1"), header("Traceparent", "?"), header("tracestate", "of=another"))))
	from.Finish()

	to := tracingtest.Named(t, recorder.Wait(t, 2), "To_tracing-dlq")
	assert.Equal(t, tracingtest.Named(t, recorder.Wait(t, 2), "From_tracing-topic").ID, to.ParentID)
	assert.EqualValues(t, 0, to.Tags["offset"])
	assert.NotContains(t, to.Tags, "error", "that it was cut is no failure")
	e := o.entries(t, 1)[0]
	assert.Equal(t, []kafka.Header{
		header("uber-trace-id", to.TraceID+":"+to.ID+":"+to.ParentID+":1"),
		header("traceparent", to.Traceparent()),
	}, e.Headers)
	assert.Equal(t, 10_000+8+13+7+11+1+10+10, e.CutFrom)
}
