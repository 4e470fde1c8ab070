package outbox

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fault-tolerant-tracing/tracing/numbering"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { tracingtest.VerifyMain(m) }

const patience = 30 * time.Second // what only a failing test waits

// scripted is a producer whose delivery reports the test gives, in the order it
// likes: what comes of records that overlap cannot be arranged with a broker.
type scripted struct{ produced chan delivery }

type delivery struct {
	value   string
	headers []kafka.Header
	report  func(error)
}

func (p scripted) Produce(m *kafka.Message, done func(kafka.TopicPartition, error)) error {
	p.produced <- delivery{string(m.Value), m.Headers, func(err error) { done(m.TopicPartition, err) }}
	return nil
}

func (scripted) Close(context.Context) error { return nil }

// startScripted starts an outbox of records whose values are texts with one span
// per character.
func startScripted(t *testing.T) (*Outbox, func(want string) delivery) {
	t.Helper()
	p := scripted{make(chan delivery, 100)}
	cfg := Config{Topic: DefaultTopic, BufferBytes: 3 * windowBytes, Logger: slog.New(slog.DiscardHandler)}
	o, err := start(p, cfg, "text", func(value []byte, n int) (first, second []byte, err error) { return value[:n], value[n:], nil })
	require.NoError(t, err)
	t.Cleanup(func() {
		o.stop()
		o.running.Wait()
	})
	return o, func(want string) delivery {
		t.Helper()
		select {
		case d := <-p.produced:
			require.Equal(t, want, d.value)
			return d
		case <-time.After(patience):
			t.Fatalf("%s was not produced", want)
			return delivery{}
		}
	}
}

// assertIdle checks that there is nothing the outbox may do at present, with so
// many records in flight.
func (o *Outbox) assertIdle(t *testing.T, inFlight int) {
	t.Helper()
	r, failure := o.take()
	require.Nil(t, r)
	require.NoError(t, failure)
	o.mu.Lock()
	defer o.mu.Unlock()
	require.Equal(t, inFlight, o.inFlight)
}

func TestNothingIsSentBeforeAllInFlightIsSettledAfterAFailure(t *testing.T) {
	o, produced := startScripted(t)
	for _, v := range []string{"a", "b", "c"} {
		o.Push(Record{Value: []byte(v), Spans: 1})
	}
	a, b, c := produced("a"), produced("b"), produced("c")
	b.report(errors.New("made up"))
	o.Push(Record{Value: []byte("d"), Spans: 1})
	o.assertIdle(t, 2)
	a.report(nil)
	o.assertIdle(t, 1)
	require.Equal(t, 3, o.Left())
	c.report(nil)
	produced("b").report(nil) // c has arrived and is not sent again
	produced("d").report(nil)
	require.Zero(t, o.Left())
}

func TestNoMoreThanTheWindowIsInFlight(t *testing.T) {
	o, produced := startScripted(t)
	half := func(c string) string { return strings.Repeat(c, windowBytes/2) }
	for _, c := range []string{"a", "b", "c"} {
		o.Push(Record{Value: []byte(half(c))})
	}
	a := produced(half("a"))
	produced(half("b"))
	o.assertIdle(t, 2)
	a.report(nil)
	produced(half("c"))
}

func TestRecordsRefusedTogetherAreTriedAlone(t *testing.T) {
	o, produced := startScripted(t)
	for _, v := range []string{"x", "a", "b"} {
		o.Push(Record{Value: []byte(v), Spans: 1})
	}
	refused := kafka.NewError(kafka.ErrMsgSizeTooLarge, "", false)
	x, a, b := produced("x"), produced("a"), produced("b")
	x.report(errors.New("made up"))
	a.report(refused)
	b.report(refused)
	x = produced("x")
	o.assertIdle(t, 1)
	x.report(nil)
	a = produced("a")
	o.Push(Record{Value: []byte("c"), Spans: 1})
	o.assertIdle(t, 1)
	a.report(refused)
	b = produced("b")
	o.assertIdle(t, 1)
	b.report(nil)
	produced("c").report(nil)
	require.Zero(t, o.Left())
	require.Equal(t, numbering.Losses{FailedToEmit: 1}, o.Tally.Losses())
}

func TestARecordRefusedAloneIsHalvedUntilItIsTaken(t *testing.T) {
	o, produced := startScripted(t)
	headers := []kafka.Header{{Key: "number", Value: []byte("1")}}
	o.Push(Record{Value: []byte("abc"), Headers: headers, Spans: 3})
	o.Push(Record{Value: []byte("d"), Spans: 1})
	refused := kafka.NewError(kafka.ErrMsgSizeTooLarge, "", false)
	abc, d := produced("abc"), produced("d")
	abc.report(refused)
	d.report(nil)
	produced("abc").report(refused)
	a := produced("a")
	require.Equal(t, headers, a.headers, "the halves say what the whole one said")
	o.assertIdle(t, 1)
	a.report(nil)
	produced("bc").report(refused)
	b := produced("b")
	require.Equal(t, 2, o.Left())
	b.report(refused)
	c := produced("c")
	require.Equal(t, headers, c.headers)
	c.report(nil)
	require.Zero(t, o.Left())
	require.Zero(t, o.bytes)
	require.Equal(t, numbering.Losses{FailedToEmit: 1}, o.Tally.Losses())
}

func TestABufferThatIsFullTakesNothingUntilThereIsRoom(t *testing.T) {
	o, produced := startScripted(t)
	third := []byte(strings.Repeat("a", windowBytes))
	for range 3 {
		require.True(t, o.Push(Record{Value: third}))
	}
	require.False(t, o.Push(Record{Value: []byte("b")}))
	produced(string(third)).report(nil)
	require.True(t, o.Push(Record{Value: []byte("b")}))
}

func TestShutdownSendsAgainWithoutDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, produced := startScripted(t)
		o.Push(Record{Value: []byte("a"), Spans: 1})
		for range 12 { // the waits grow to seconds
			produced("a").report(errors.New("made up"))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began, ended := time.Now(), make(chan error, 1)
		go func() { ended <- o.Shutdown(ctx) }()
		produced("a").report(errors.New("made up"))
		produced("a").report(nil)
		require.NoError(t, <-ended)
		assert.LessOrEqual(t, time.Since(began), 2*firstWait)
	})
}
