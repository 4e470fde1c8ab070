package tracing

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fault-tolerant-tracing/tracing/batch"
	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/opentracing/opentracing-go/log"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestTopicMissingForLongerThanTheClientWaits(t *testing.T) {
	t.Parallel()
	b := tracingtest.StartBroker(t)
	tr, lines := startTransport(t, TransportConfig{Kafka: cluster(b.Addr())},
		kafka.ConfigMap{"topic.metadata.propagation.max.ms": 100})
	spans := newSource(t)
	spans.feed(t, tr, 300)
	lines.wait(t, "kafka did not take spans")
	spans.feed(t, tr, 100)
	b.CreateTopics(t, 3, DefaultTopic)
	assertInOrder(t, waitSpans(t, b, 400), 400)
	assert.Equal(t, 1, lines.count("kafka did not take spans"), "once per burst")
	lines.wait(t, "spans reach kafka again")
	assert.Equal(t, batch.Stats{}, tr.Stats())
}

// scripted is a producer whose delivery reports the test gives, in the order it
// likes: what comes of records that overlap cannot be arranged with a broker.
type scripted struct{ produced chan delivery }

type delivery struct {
	value  string
	report func(error)
}

func (p scripted) Produce(m *kafka.Message, done func(kafka.TopicPartition, error)) error {
	p.produced <- delivery{string(m.Value), func(err error) { done(m.TopicPartition, err) }}
	return nil
}

func (scripted) Close(context.Context) error { return nil }

func startScripted(t *testing.T) (*sender, func(want string) delivery) {
	t.Helper()
	p := scripted{make(chan delivery, 100)}
	cfg := TransportConfig{Topic: DefaultTopic, BufferBytes: 3 * windowBytes, Logger: slog.New(slog.DiscardHandler)}
	s := newSender(p, cfg, &losses{log: cfg.Logger})
	t.Cleanup(func() {
		s.stop()
		<-s.stopped
	})
	return s, func(want string) delivery {
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

// assertIdle checks that there is nothing the sender may do at present, with so
// many records in flight.
func (s *sender) assertIdle(t *testing.T, inFlight int) {
	t.Helper()
	r, failure := s.take()
	require.Nil(t, r)
	require.NoError(t, failure)
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Equal(t, inFlight, s.inFlight)
}

func TestNothingIsSentBeforeAllInFlightIsSettledAfterAFailure(t *testing.T) {
	s, produced := startScripted(t)
	for _, v := range []string{"a", "b", "c"} {
		s.push(&record{value: []byte(v), spans: 1})
	}
	a, b, c := produced("a"), produced("b"), produced("c")
	b.report(errors.New("made up"))
	s.push(&record{value: []byte("d"), spans: 1})
	s.assertIdle(t, 2)
	a.report(nil)
	s.assertIdle(t, 1)
	require.Equal(t, 3, s.left())
	c.report(nil)
	produced("b").report(nil) // c has arrived and is not sent again
	produced("d").report(nil)
	require.Zero(t, s.left())
}

func TestNoMoreThanTheWindowIsInFlight(t *testing.T) {
	s, produced := startScripted(t)
	half := func(c string) string { return strings.Repeat(c, windowBytes/2) }
	for _, c := range []string{"a", "b", "c"} {
		s.push(&record{value: []byte(half(c))})
	}
	a := produced(half("a"))
	produced(half("b"))
	s.assertIdle(t, 2)
	a.report(nil)
	produced(half("c"))
}

func TestRecordsRefusedTogetherAreTriedAlone(t *testing.T) {
	s, produced := startScripted(t)
	for _, v := range []string{"x", "a", "b"} {
		s.push(&record{value: []byte(v), spans: 1})
	}
	refused := kafka.NewError(kafka.ErrMsgSizeTooLarge, "", false)
	x, a, b := produced("x"), produced("a"), produced("b")
	x.report(errors.New("made up"))
	a.report(refused)
	b.report(refused)
	x = produced("x")
	s.assertIdle(t, 1)
	x.report(nil)
	a = produced("a")
	s.push(&record{value: []byte("c"), spans: 1})
	s.assertIdle(t, 1)
	a.report(refused)
	b = produced("b")
	s.assertIdle(t, 1)
	b.report(nil)
	produced("c").report(nil)
	require.Zero(t, s.left())
	require.EqualValues(t, 1, s.losses.failed.Load())
}

func TestShutdownSendsAgainWithoutDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, produced := startScripted(t)
		s.push(&record{value: []byte("a"), spans: 1})
		for range 12 { // the waits grow to seconds
			produced("a").report(errors.New("made up"))
		}
		began, ended := time.Now(), make(chan error, 1)
		go func() { ended <- s.shutdown(ending(t, time.Second)) }()
		produced("a").report(errors.New("made up"))
		produced("a").report(nil)
		require.NoError(t, <-ended)
		assert.LessOrEqual(t, time.Since(began), 2*firstWait)
	})
}

func TestCloseLogsWhatItLeavesBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines := &logLines{}
		s, produced := startScripted(t)
		s.push(&record{value: []byte("a"), spans: 7})
		tr := &Transport{losses: losses{log: lines.logger()}, sender: s}
		require.ErrorContains(t, tr.Close(), "7 span(s) left behind")
		produced("a")
		assert.Equal(t, 1, lines.count(`level=WARN msg="tracing transport closed" err="7 span(s) left behind`))
	})
}

// A broker that lost its memory does not know the idempotent producer any more.
func TestBrokerWithoutItsProducerState(t *testing.T) {
	t.Parallel()
	addr := tracingtest.FreeAddr(t)
	b, err := tracingtest.NewBroker(addr, "")
	require.NoError(t, err)
	t.Cleanup(b.Stop)
	b.CreateTopics(t, 1, DefaultTopic)
	tr, lines := startTransport(t, TransportConfig{Kafka: cluster(addr)}, nil)
	spans := newSource(t)
	spans.feed(t, tr, 300)
	waitSpans(t, b, 300)

	b.Stop()
	spans.feed(t, tr, 300)
	require.NoError(t, b.Start())
	b.CreateTopics(t, 1, DefaultTopic)
	spans.feed(t, tr, 300)

	lines.wait(t, "kafka producer failed for good")
	require.NoError(t, tr.Shutdown(ending(t, patience)))
	got := readBatches(t, b, 6)
	assert.Subset(t, operations(got), names(300, 900))
	assert.Equal(t, batch.Stats{}, tr.Stats())
}

func TestRecordTheTopicRefusesDoesNotHoldUpTheRest(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	limitTopic(t, b, "20000")
	tr, lines := startTransport(t, TransportConfig{Kafka: cluster(b.Addr())}, nil)
	spans := newSource(t)
	for range 10 {
		spans.feed(t, tr, 1, log.String("payload", strings.Repeat("x", 9000)))
		_, _ = tr.Flush()
	}
	spans.feed(t, tr, 1, log.String("payload", strings.Repeat("x", 30_000))) // can never be taken
	_, _ = tr.Flush()
	spans.feed(t, tr, 1)
	_, _ = tr.Flush()

	require.Eventually(t, func() bool { return tr.Stats().FailedToEmit > 0 }, patience, tick)
	require.NoError(t, tr.Shutdown(ending(t, patience)))
	batches := readBatches(t, b, 12)
	assert.Equal(t, append(names(0, 10), "span-11"), operations(batches))
	assert.Equal(t, batch.Stats{FailedToEmit: 1}, statsOf(batches[len(batches)-1]))
	assert.Equal(t, 1, lines.count("kafka refuses a record as too large"))
}

func TestABatchTheTopicRefusesIsHalvedUntilItIsTaken(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	limitTopic(t, b, "20000")
	tr, lines := startTransport(t, TransportConfig{Kafka: cluster(b.Addr())}, nil)
	spans := newSource(t)
	kilobyte := log.String("payload", strings.Repeat("x", 1000))
	spans.feed(t, tr, 30, kilobyte)
	spans.feed(t, tr, 1, log.String("payload", strings.Repeat("x", 30_000))) // can never be taken
	spans.feed(t, tr, 69, kilobyte)                                          // completes the batch
	spans.feed(t, tr, 1)

	require.NoError(t, tr.Shutdown(ending(t, patience)))
	batches := waitSpans(t, b, 100)
	assert.Equal(t, append(names(0, 30), names(31, 101)...), operations(batches))
	numbers := seqNos(batches)
	assert.Equal(t, []int64{1, 2}, slices.Compact(numbers), "the parts share the number of their batch")
	assert.Equal(t, batch.Stats{FailedToEmit: 1}, tr.Stats())
	assert.Equal(t, 1, lines.count("kafka refuses a record as too large"))
	assert.Zero(t, tr.sender.bytes)
}

func limitTopic(t *testing.T, b *tracingtest.Broker, maxBytes string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()))
	require.NoError(t, err)
	defer client.Close()
	answers, err := kadm.NewClient(client).AlterTopicConfigs(ending(t, patience),
		[]kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: &maxBytes}}, DefaultTopic)
	require.NoError(t, err)
	_, err = answers.On(DefaultTopic, nil)
	require.NoError(t, err)
}

func TestSpansWaitForARenewedCertificate(t *testing.T) {
	t.Parallel()
	authority := tracingtest.NewAuthority(t)
	b := tracingtest.StartBroker(t, kfake.TLS(authority.ServerTLS(t)), kfake.SeedTopics(1, DefaultTopic))
	files := authority.NewPEMFiles(t, time.Now().Add(-time.Second))
	to := cluster(b.Addr())
	to.RefreshInterval = 50 * time.Millisecond
	to.Security = kafkaclient.Security{Protocol: "SSL", TLSCAFile: files.CA, TLSCertFile: files.Cert, TLSKeyFile: files.Key}
	tr, lines := startTransport(t, TransportConfig{Kafka: to}, nil)
	newSource(t).feed(t, tr, 1)
	_, _ = tr.Flush()
	lines.wait(t, "certificate expired")

	authority.Renew(t, files, time.Now().Add(time.Hour))
	require.NoError(t, tr.Shutdown(ending(t, patience)), "it was not acknowledged")
	assert.Equal(t, batch.Stats{}, tr.Stats())
	assert.EqualValues(t, 1, b.Cluster().PartitionInfo(DefaultTopic, 0).HighWatermark)
}
