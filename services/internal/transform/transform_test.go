package transform

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"fault-tolerant-tracing/services/internal/dispatch"
	"fault-tolerant-tracing/services/internal/service"
	"fault-tolerant-tracing/tracing"
	"fault-tolerant-tracing/tracing/tracingtest"
)

func TestMain(m *testing.M) { tracingtest.VerifyMain(m) }

// start runs f between the topics in and out.
func start(t *testing.T, f Func) (*tracingtest.Broker, *tracingtest.Recorder) {
	t.Helper()
	broker := tracingtest.StartBroker(t)
	broker.CreateTopics(t, 1, "in", "out", "dlq")
	tracer, spans := tracingtest.NewTracer(t, "test")
	var settings struct {
		Kafka  service.Kafka
		Member service.Group
		Common service.Common
	}
	require.NoError(t, service.Load(&settings, []string{"KAFKA_BROKERS=" + broker.Addr(), "SESSION_TIMEOUT=6s"}))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	var teardown service.Teardown
	go func() {
		done <- Run(ctx, Config{
			Service: "test", Group: "test-app", From: "in", To: "out", DLQ: "dlq", Func: f,
			Kafka: settings.Kafka, Member: settings.Member, Common: settings.Common, HTTPAddr: "127.0.0.1:0",
			Tracer: &tracing.Tracer{Tracer: tracer}, Log: slog.New(slog.DiscardHandler),
		}, &teardown)
	}()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, errors.Join(<-done, teardown.Run(settings.Common.ShutdownTimeout)))
	})
	return broker, spans
}

func produce(t *testing.T, broker *tracingtest.Broker, values ...string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()))
	require.NoError(t, err)
	defer client.Close()
	var records []*kgo.Record
	for _, value := range values {
		records = append(records, &kgo.Record{Topic: "in", Value: []byte(value)})
	}
	require.NoError(t, client.ProduceSync(t.Context(), records...).FirstErr())
}

func TestARecordBecomesAnotherUnderItsTrace(t *testing.T) {
	t.Parallel()
	broker, recorder := start(t, func(ctx context.Context, r *dispatch.Record) (key, value []byte, err error) {
		Tag(ctx, "tag", 7)
		return []byte("key"), bytes.ToUpper(r.Value), nil
	})
	produce(t, broker, "a")
	written := tracingtest.ReadTopic(t, broker.Addr(), "out", 1)
	require.Len(t, written, 1)
	assert.Equal(t, "key", string(written[0].Key))
	assert.Equal(t, "A", string(written[0].Value))
	spans := recorder.Wait(t, 2)
	from, to := tracingtest.Named(t, spans, "From_in"), tracingtest.Named(t, spans, "To_out")
	assert.Equal(t, from.ID, to.ParentID)
	assert.EqualValues(t, 7, from.Tags["tag"])
	assert.EqualValues(t, 7, to.Tags["tag"])
}

func TestWhatCannotBeWrittenIsSetAsideAndWhatFailsForNowIsTriedAgainInOrder(t *testing.T) {
	t.Parallel()
	var failed atomic.Bool
	broker, recorder := start(t, func(ctx context.Context, r *dispatch.Record) (key, value []byte, err error) {
		switch string(r.Value) {
		case "bad":
			Tag(ctx, "tag", "bad")
			return nil, nil, dispatch.Permanent(errors.New("is bad"))
		case "large":
			return nil, make([]byte, 1_200_000), nil
		case "later":
			if !failed.Swap(true) {
				return nil, nil, errors.New("not now")
			}
		}
		return nil, r.Value, nil
	})
	produce(t, broker, "later", "bad", "large", "good")
	assert.Equal(t, []string{"later", "good"}, values(tracingtest.ReadTopic(t, broker.Addr(), "out", 2)))
	dlq := tracingtest.ReadTopic(t, broker.Addr(), "dlq", 2)
	slices.SortFunc(dlq, func(a, b *kgo.Record) int { return cmp.Compare(len(a.Value), len(b.Value)) })
	assert.Equal(t, []string{"bad", "large"}, values(dlq))
	for i, reason := range []string{"is bad", "produce to out: Broker: Message size too large"} {
		assert.Contains(t, dlq[i].Headers, kgo.RecordHeader{Key: "dlq.reason", Value: []byte(reason)})
	}
	assert.True(t, slices.ContainsFunc(recorder.Wait(t, 9), func(s tracingtest.Span) bool {
		return s.Operation == "To_dlq" && s.Tags["tag"] == "bad"
	}), "a span To_dlq has the tag of its record")
}

// What is read together is worked on together, and written together: in order, and nothing of it before all of it can be.
func TestRecordsReadTogether(t *testing.T) {
	t.Parallel()
	const records = 100
	var down atomic.Bool
	var atOnce, most, refusals atomic.Int32
	down.Store(true)
	broker, recorder := start(t, func(_ context.Context, r *dispatch.Record) (key, value []byte, err error) {
		n := atOnce.Add(1)
		defer atOnce.Add(-1)
		for at := most.Load(); n > at && !most.CompareAndSwap(at, n); at = most.Load() {
		}
		if string(r.Value) == "007" && down.Load() {
			refusals.Add(1)
			return nil, nil, errors.New("not now")
		}
		time.Sleep(time.Millisecond) // as one who asks others
		return nil, r.Value, nil
	})
	var want []string
	for i := range records {
		want = append(want, fmt.Sprintf("%03d", i))
	}
	produce(t, broker, want...)
	require.Eventually(t, func() bool { return refusals.Load() > 3 }, 20*time.Second, time.Millisecond)
	assert.Equal(t, want[:7], values(tracingtest.ReadTopic(t, broker.Addr(), "out", 7)))
	down.Store(false)
	assert.Equal(t, want, values(tracingtest.ReadTopic(t, broker.Addr(), "out", records)))
	assert.Greater(t, most.Load(), int32(1), "at once")
	assert.LessOrEqual(t, most.Load(), int32(InFlight))
	assert.Len(t, recorder.Wait(t, 2*records), 2*records, "a refused try has no span")
}

func TestAResultThatIsTooLargeTakesNoOtherAlong(t *testing.T) {
	t.Parallel()
	broker, _ := start(t, func(_ context.Context, r *dispatch.Record) (key, value []byte, err error) {
		if string(r.Value) == "large" {
			return nil, make([]byte, 1_200_000), nil
		}
		return nil, r.Value, nil
	})
	produce(t, broker, "a", "b", "large", "c", "d")
	tracingtest.ReadTopic(t, broker.Addr(), "dlq", 1)
	assert.Equal(t, []string{"a", "b", "c", "d"}, values(tracingtest.ReadTopic(t, broker.Addr(), "out", 4)))
}

func values(records []*kgo.Record) []string {
	var all []string
	for _, r := range records {
		all = append(all, string(r.Value))
	}
	return all
}
