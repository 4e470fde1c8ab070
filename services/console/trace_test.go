package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"fault-tolerant-tracing/services/internal/deadletter"
)

func TestSpansAreArrangedAsATree(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
	list := arrange([]span{
		{Name: "c", id: "3", parent: "2", start: at(300), end: at(400)},
		{Name: "a", id: "1", parent: "gone", start: at(0), end: at(100)},
		{Name: "b", id: "2", parent: "1", start: at(50), end: at(1000)},
		{Name: "b", id: "2", parent: "1", start: at(50), end: at(1000)}, // it came twice
		{Name: "loop", id: "8", parent: "9", start: at(1), end: at(2)},
		{Name: "loop", id: "9", parent: "8", start: at(1), end: at(2)},
	})
	var names []string
	for i, s := range list {
		names = append(names, s.Name)
		assert.Equal(t, i, s.Depth)
	}
	assert.Equal(t, []string{"a", "b", "c"}, names)
	assert.Equal(t, [2]int{50, 950}, [2]int{list[1].Began, list[1].Took})
	assert.Empty(t, arrange(nil))
}

func TestTheTraceOfAnAnswerIsThatOfItsContext(t *testing.T) {
	for context, want := range map[string]string{"a:b:0:1": "000000000000000a", "a:b:0:b": "000000000000000a", "b": "", "a:?:0:1": "", "": ""} {
		m := kafka.Message{Headers: []kafka.Header{{Key: "other", Value: []byte("c:d:0:1")}, {Key: "uber-trace-id", Value: []byte(context)}}}
		assert.Equal(t, want, answerOf(&m).Trace, context)
	}
}

func TestWhatARecordHoldsIsShownPlain(t *testing.T) {
	hostile := "a\x1b[2J\u202eb\nc\u200b" + strings.Repeat("d", 1000)
	want := "a [2J b c " + strings.Repeat("d", 190) + "…"
	value, err := json.Marshal(map[string]string{"completeSentence": hostile})
	require.NoError(t, err)
	topic := "number-dlq"
	assert.Equal(t, want, answerOf(&kafka.Message{Value: value}).Text)
	m := kafka.Message{TopicPartition: kafka.TopicPartition{Topic: &topic}, Headers: []kafka.Header{
		{Key: deadletter.HeaderReason, Value: []byte(hostile)}, {Key: deadletter.HeaderTopic, Value: []byte(hostile)},
		{Key: deadletter.HeaderPartition, Value: []byte("0")}, {Key: deadletter.HeaderOffset, Value: []byte("0")},
	}}
	assert.Equal(t, [2]string{want, want}, [2]string{letterOf(&m).Reason, letterOf(&m).From})

	traces := ptrace.NewTraces()
	resource := traces.ResourceSpans().AppendEmpty()
	resource.Resource().Attributes().PutStr("service.name", hostile)
	resource.ScopeSpans().AppendEmpty().Spans().AppendEmpty().SetName(hostile)
	shown := spansOf(traces)
	assert.Equal(t, [2]string{want, want}, [2]string{shown[0].Service, shown[0].Name})
}
