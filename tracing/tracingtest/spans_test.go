package tracingtest_test

import (
	"context"
	"testing"
	"time"

	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/uber/jaeger-client-go/thrift"
	"github.com/uber/jaeger-client-go/thrift-gen/jaeger"
)

func TestSpansOnTopicReadsWhatABatchSays(t *testing.T) {
	b := tracingtest.StartBroker(t)
	b.CreateTopics(t, 1, "tracing-topic")
	text, yes := "even-topic", true
	batch := jaeger.Batch{
		Process: &jaeger.Process{ServiceName: "stream-app"},
		Spans: []*jaeger.Span{
			{TraceIdLow: 1, SpanId: 1, OperationName: "From_number-topic", StartTime: 2_000_000, Duration: 1500},
			{TraceIdHigh: 0xa, TraceIdLow: 1, SpanId: -1, ParentSpanId: 1, OperationName: "To_even-topic",
				Tags: []*jaeger.Tag{
					{Key: "message_bus.destination", VType: jaeger.TagType_STRING, VStr: &text},
					{Key: "error", VType: jaeger.TagType_BOOL, VBool: &yes},
				},
				Logs: []*jaeger.Log{{Fields: []*jaeger.Tag{{Key: "message", VType: jaeger.TagType_STRING, VStr: &text}}}},
			},
		},
	}
	value, err := thrift.NewTSerializer().Write(context.Background(), &batch)
	require.NoError(t, err)
	c := newClient(t, b)
	for range 2 {
		require.NoError(t, c.ProduceSync(context.Background(), &kgo.Record{Topic: "tracing-topic", Value: value}).FirstErr())
	}

	spans := tracingtest.SpansOnTopic(t, b.Addr(), "tracing-topic", 3)

	require.Len(t, spans, 4)
	assert.Equal(t, tracingtest.Span{
		Service: "stream-app", Operation: "From_number-topic", TraceID: "0000000000000001", ID: "0000000000000001",
		Start: time.Unix(2, 0), Duration: 1500 * time.Microsecond, Tags: map[string]any{},
	}, spans[0])
	assert.Equal(t, tracingtest.Span{
		Service: "stream-app", Operation: "To_even-topic", TraceID: "000000000000000a0000000000000001", ID: "ffffffffffffffff",
		ParentID: "0000000000000001", Start: time.UnixMicro(0),
		Tags: map[string]any{"message_bus.destination": "even-topic", "error": true},
		Logs: []map[string]any{{"message": "even-topic"}},
	}, spans[1])
}
