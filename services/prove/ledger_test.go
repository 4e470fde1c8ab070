package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"fault-tolerant-tracing/tracing/tracingtest"
)

// What a client had ended is on tracing-topic, or was ended too short before it was killed; anything else is lost.
func TestLedgersTellWhatIsLost(t *testing.T) {
	began := time.Now().Truncate(time.Microsecond)
	dir := t.TempDir()
	write := func(life string, spans int, after string) { // one each 100 ms
		var text strings.Builder
		for n := range spans {
			fmt.Fprintf(&text, "%d %d\n", n+1, began.Add(time.Duration(n+1)*100*time.Millisecond).UnixMicro())
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, life), []byte(text.String()+after), 0o600))
	}
	write("whole", 50, "complete\n")
	write("incomplete", 50, "complete\n")
	write("killed", 50, "51 17")
	write("killed-early", 50, "")
	write("at-once", 0, "")

	b := tracingtest.StartBroker(t)
	b.CreateTopics(t, 3, "tracing-topic")
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()))
	require.NoError(t, err)
	defer client.Close()
	send := func(life string, from, to int) {
		traces := ptrace.NewTraces()
		resource := traces.ResourceSpans().AppendEmpty()
		resource.Resource().Attributes().PutStr(lifeTag, life)
		scope := resource.ScopeSpans().AppendEmpty()
		for n := from; n <= to; n++ {
			span := scope.Spans().AppendEmpty()
			span.SetTraceID(pcommon.TraceID{1})
			span.SetSpanID(pcommon.SpanID{byte(n), 1})
			span.Attributes().PutInt(numberTag, int64(n))
		}
		value, err := (&ptrace.ProtoMarshaler{}).MarshalTraces(traces)
		require.NoError(t, err)
		require.NoError(t, client.ProduceSync(t.Context(), &kgo.Record{Topic: "tracing-topic", Value: value}).FirstErr())
	}
	send("whole", 1, 30)
	send("whole", 20, 50)
	send("incomplete", 1, 49)
	send("killed", 1, 19)
	send("killed", 21, 30) // 20 is older than those behind it
	send("killed-early", 1, 24)
	send("killed-early", 99, 99)
	send("of nobody", 1, 50)
	require.NoError(t, client.ProduceSync(t.Context(), &kgo.Record{Topic: "tracing-topic", Value: []byte("poison")}).FirstErr())

	phaseAt := func(at time.Time) int {
		if at.Before(began.Add(2550 * time.Millisecond)) {
			return 0
		}
		return 1
	}
	c, err := count(t.Context(), dir, []string{b.Addr()}, phaseAt)
	require.NoError(t, err)
	assert.Equal(t, 5, c.Lives)
	assert.Equal(t, 3, c.Killed)
	assert.EqualValues(t, 200, c.Ended)
	assert.Equal(t, map[int]int{0: 1, 1: 1}, c.lost, "20 of killed, 50 of incomplete")
	assert.Equal(t, map[int]int{0: 1, 1: 20 + 25}, c.notSent)
	assert.Equal(t, 2500*time.Millisecond, c.Oldest)
	assert.ElementsMatch(t, []string{
		"span 20 of client killed is not on tracing-topic; it had ended 3s before the client did",
		"span 50 of client incomplete is not on tracing-topic; it had ended 0s before the client did",
	}, c.told)
}
