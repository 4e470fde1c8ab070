package gokatrace_test

import (
	"context"
	"testing"
	"time"

	"fault-tolerant-tracing/tracing/gokatrace"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"
	"github.com/opentracing/opentracing-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func config(t *testing.T) *sarama.Config {
	t.Helper()
	c := goka.DefaultConfig()
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Retry.Max = 0
	c.Producer.Flush.Frequency, c.Producer.Flush.Bytes = 0, 0 // at once
	return c
}

func options(c *sarama.Config, tracer opentracing.Tracer) []goka.ProcessorOption {
	return []goka.ProcessorOption{
		goka.WithConsumerGroupBuilder(goka.ConsumerGroupBuilderWithConfig(c)),
		goka.WithConsumerSaramaBuilder(goka.SaramaConsumerBuilderWithConfig(c)),
		goka.WithTopicManagerBuilder(goka.TopicManagerBuilderWithConfig(c, goka.NewTopicManagerConfig())),
		goka.WithProducerBuilder(gokatrace.ProducerBuilder(tracer, goka.ProducerBuilderWithConfig(c))),
	}
}

// emit puts a six on number-topic.
func emit(t *testing.T, b *tracingtest.Broker, headers goka.Headers) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()))
	require.NoError(t, err)
	defer client.Close()
	r := &kgo.Record{Topic: "number-topic", Value: []byte("6")}
	for k, v := range headers {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: k, Value: v})
	}
	require.NoError(t, client.ProduceSync(context.Background(), r).FirstErr())
}

func passOn(ctx goka.Context, msg any) { ctx.Emit("even-topic", "6", msg) }

func TestAProcessorOnABrokerTracesWhatItDelivered(t *testing.T) {
	tracer, recorder := tracingtest.NewTracer(t, "test")
	b := tracingtest.StartBroker(t)
	b.CreateTopics(t, 1, "number-topic", "even-topic", "stream-app-loop")
	run(t, []string{b.Addr()}, graph(tracer, passOn), options(config(t), tracer)...)
	for range 2 {
		emit(t, b, goka.Headers{"uber-trace-id": []byte("abc%3Adef%3A0%3A1")})
	}

	written := tracingtest.ReadTopic(t, b.Addr(), "even-topic", 2)
	spans := recorder.Wait(t, 4)

	require.Len(t, spans, 4)
	byID := map[string]tracingtest.Span{}
	for _, s := range spans {
		byID[s.ID] = s
	}
	for i, record := range written {
		require.Len(t, record.Headers, 2)
		sc := tracingtest.Header(record, "uber-trace-id")
		require.Len(t, sc, 52)
		to := byID[sc[17:33]]
		assert.Equal(t, to.Traceparent(), tracingtest.Header(record, "traceparent"))
		assert.Equal(t, "To_even-topic", to.Operation)
		assert.Equal(t, int64(i), to.Tags["offset"])
		from := byID[to.ParentID]
		assert.Equal(t, "From_number-topic", from.Operation)
		assert.Equal(t, "0000000000000def", from.ParentID)
		assert.Equal(t, int64(i), from.Tags["offset"])
	}
}

func TestARefusedDeliveryEndsTheSpanWithItsError(t *testing.T) {
	tracer, recorder := tracingtest.NewTracer(t, "test")
	b := tracingtest.StartBroker(t)
	b.CreateTopics(t, 1, "number-topic", "even-topic", "stream-app-loop")
	b.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "even-topic", Err: kerr.TopicAuthorizationFailed, Count: -1})
	ended := run(t, []string{b.Addr()}, graph(tracer, passOn), options(config(t), tracer)...)
	emit(t, b, nil)

	select {
	case err := <-ended:
		assert.ErrorContains(t, err, "even-topic")
	case <-time.After(time.Minute):
		t.Fatal("the processor goes on after a failed delivery")
	}
	to := tracingtest.Named(t, recorder.Spans(), "To_even-topic")
	assert.Equal(t, true, to.Tags["error"])
	assert.NotContains(t, to.Tags, "offset")
	require.Len(t, to.Logs, 1)
	assert.Contains(t, to.Logs[0]["message"], "authorized")
	assert.Equal(t, tracingtest.Named(t, recorder.Spans(), "From_number-topic").ID, to.ParentID)
}
