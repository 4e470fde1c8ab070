package kafkatrace_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/kafkatrace"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/opentracing/opentracing-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestMain(m *testing.M) { tracingtest.VerifyMain(m) }

func newMessage(topic string) *kafka.Message {
	return &kafka.Message{TopicPartition: kafka.TopicPartition{Topic: &topic, Partition: kafka.PartitionAny}, Value: []byte("6")}
}

func newProducer(t *testing.T, b *tracingtest.Broker) *kafkaclient.Producer {
	t.Helper()
	p, err := kafkaclient.NewProducer(kafkaclient.Cluster{Brokers: []string{b.Addr()}}, slog.New(slog.DiscardHandler), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Close(within(t, 10*time.Second)) })
	return p
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), d)
	t.Cleanup(cancel)
	return ctx
}

func TestSpansOfOneMessageFormAChain(t *testing.T) {
	tracer, recorder := tracingtest.NewTracer(t, "test")
	msg := newMessage("even-topic")
	cause := tracer.StartSpan("cause")

	to := kafkatrace.StartProduceSpan(tracer, cause.Context(), msg)
	kafkatrace.FinishProduceSpan(to, kafka.TopicPartition{Topic: msg.TopicPartition.Topic, Partition: 2, Offset: 7}, nil)
	cause.Finish()
	received := newMessage("even-topic")
	received.TopicPartition.Partition, received.TopicPartition.Offset = 2, 7
	received.Headers = msg.Headers
	kafkatrace.StartConsumeSpan(tracer, received).Finish()

	spans := recorder.Spans()
	require.Len(t, spans, 3)
	root, sent, from := tracingtest.Named(t, spans, "cause"), tracingtest.Named(t, spans, "To_even-topic"), tracingtest.Named(t, spans, "From_even-topic")
	assert.Equal(t, root.ID, sent.ParentID)
	assert.Equal(t, sent.ID, from.ParentID)
	assert.Equal(t, root.TraceID, sent.TraceID)
	assert.Equal(t, root.TraceID, from.TraceID)
	want := map[string]any{
		"span.kind": "producer", "component": "confluent-kafka-go", "peer.service": "kafka",
		"message_bus.destination": "even-topic", "partition": int64(2), "offset": int64(7),
	}
	assert.Equal(t, want, sent.Tags)
	want["span.kind"] = "consumer"
	assert.Equal(t, want, from.Tags)
}

func TestAMessageWithoutContextStartsATrace(t *testing.T) {
	for name, headers := range map[string][]kafka.Header{
		"missing":   nil,
		"malformed": {{Key: "uber-trace-id", Value: []byte("0:0:0:0")}},
	} {
		t.Run(name, func(t *testing.T) {
			tracer, recorder := tracingtest.NewTracer(t, "test")
			msg := newMessage("number-topic")
			msg.Headers = headers
			kafkatrace.StartConsumeSpan(tracer, msg).Finish()
			kafkatrace.StartProduceSpan(tracer, nil, msg).Finish()
			spans := recorder.Spans()
			require.Len(t, spans, 2)
			assert.Empty(t, spans[0].ParentID)
			assert.Empty(t, spans[1].ParentID)
			assert.NotEqual(t, spans[0].TraceID, spans[1].TraceID)
		})
	}
}

func TestAMessageWithoutTopicIsTracedToo(t *testing.T) {
	tracer, recorder := tracingtest.NewTracer(t, "test")
	kafkatrace.StartProduceSpan(tracer, nil, &kafka.Message{}).Finish()
	assert.Equal(t, "To_", recorder.Spans()[0].Operation)
}

func TestSendFinishesTheSpanByTheDeliveryReport(t *testing.T) {
	b := tracingtest.StartBroker(t)
	b.CreateTopics(t, 1, "answer-topic")
	tracer, recorder := tracingtest.NewTracer(t, "test")
	cause := tracer.StartSpan("cause")
	defer cause.Finish()
	ctx := opentracing.ContextWithSpan(within(t, 30*time.Second), cause)
	msg := newMessage("answer-topic")
	msg.Headers = []kafka.Header{{Key: "uber-trace-id", Value: []byte("1:1:0:1")}, {Key: "tracestate", Value: []byte("of=another")}, {Key: "other", Value: []byte("stays")}}
	p := newProducer(t, b)

	for offset := range 2 {
		tp, err := kafkatrace.Send(ctx, tracer, p, msg, opentracing.Tag{Key: "tag", Value: "more"})
		require.NoError(t, err)
		assert.Equal(t, kafka.Offset(offset), tp.Offset)
	}

	spans := recorder.Spans()
	require.Len(t, spans, 2)
	for i, record := range tracingtest.ReadTopic(t, b.Addr(), "answer-topic", 2) {
		assert.Equal(t, "To_answer-topic", spans[i].Operation)
		assert.Equal(t, int64(0), spans[i].Tags["partition"])
		assert.Equal(t, int64(i), spans[i].Tags["offset"])
		assert.Equal(t, "more", spans[i].Tags["tag"])
		assert.NotContains(t, spans[i].Tags, "error")
		require.Len(t, record.Headers, 3)
		assert.Equal(t, "stays", string(record.Headers[0].Value))
		context := spans[i].TraceID + ":" + spans[i].ID + ":" + spans[i].ParentID + ":1"
		assert.Equal(t, context, string(record.Headers[1].Value))
		assert.Equal(t, spans[i].Traceparent(), string(record.Headers[2].Value))
	}
	assert.Equal(t, spans[0].ParentID, spans[1].ParentID)
	assert.NotEqual(t, spans[0].ID, spans[1].ID)
}

func TestEnqueueFinishesTheSpanByTheDeliveryReport(t *testing.T) {
	b := tracingtest.StartBroker(t)
	b.CreateTopics(t, 1, "answer-topic")
	tracer, recorder := tracingtest.NewTracer(t, "test")
	p := newProducer(t, b)
	ctx := within(t, 30*time.Second)
	done := make(chan kafka.Offset, 2)
	for range 2 {
		require.NoError(t, kafkatrace.Enqueue(ctx, tracer, p, newMessage("answer-topic"), func(tp kafka.TopicPartition, err error) {
			assert.NoError(t, err)
			done <- tp.Offset
		}))
	}
	for offset := range 2 {
		assert.EqualValues(t, offset, <-done)
		assert.Equal(t, int64(offset), recorder.Spans()[offset].Tags["offset"])
	}

	require.NoError(t, p.Close(ctx))
	err := kafkatrace.Enqueue(ctx, tracer, p, newMessage("answer-topic"), func(kafka.TopicPartition, error) { t.Error("there is nothing to report") })
	require.ErrorIs(t, err, kafkaclient.ErrClosed)
	spans := recorder.Spans()
	require.Len(t, spans, 3)
	assert.Equal(t, true, spans[2].Tags["error"])
}

func TestSendTagsTheSpanWithTheReasonOfAFailedDelivery(t *testing.T) {
	b := tracingtest.StartBroker(t)
	b.CreateTopics(t, 1, "answer-topic")
	b.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "answer-topic", Err: kerr.TopicAuthorizationFailed, Count: -1})
	tracer, recorder := tracingtest.NewTracer(t, "test")

	_, err := kafkatrace.Send(within(t, 30*time.Second), tracer, newProducer(t, b), newMessage("answer-topic"))

	var kafkaErr kafka.Error
	require.True(t, errors.As(err, &kafkaErr))
	assert.Equal(t, kafka.ErrTopicAuthorizationFailed, kafkaErr.Code())
	require.Len(t, recorder.Spans(), 1)
	span := recorder.Spans()[0]
	assert.Equal(t, true, span.Tags["error"])
	assert.NotContains(t, span.Tags, "offset")
	require.Len(t, span.Logs, 1)
	assert.Equal(t, "error", span.Logs[0]["event"])
	assert.Equal(t, err.Error(), span.Logs[0]["message"])
}

func TestSendTagsTheSpanWhenNobodyReportsInTime(t *testing.T) {
	b := tracingtest.StartBroker(t)
	b.CreateTopics(t, 1, "answer-topic")
	p := newProducer(t, b)
	b.Stop()
	tracer, recorder := tracingtest.NewTracer(t, "test")

	_, err := kafkatrace.Send(within(t, 200*time.Millisecond), tracer, p, newMessage("answer-topic"))

	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Len(t, recorder.Spans(), 1)
	assert.Equal(t, true, recorder.Spans()[0].Tags["error"])
	require.NoError(t, b.Start()) // for the producer to close without a wait
}
