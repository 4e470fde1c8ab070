package main

import (
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestNoHeaderStopsTheProgram(t *testing.T) {
	t.Parallel()
	b := startBroker(t, 1)
	b.CreateTopics(t, 1, "tracing-topic")
	number := func(value string, headers ...string) *kgo.Record {
		r := &kgo.Record{Value: []byte(value)}
		for i := 0; i < len(headers); i += 2 {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: headers[i], Value: []byte(headers[i+1])})
		}
		return r
	}
	const context = "uber-trace-id"
	limitTopic(t, b, "number-topic", 8<<20) // the test writes all of them in one batch
	feedRecords(t, b,
		number("2", context, "a:2:0:1", "uberctx-user id", "x", "uberctx-k", "v"),
		number("4", context, "a:4:0:1", "uberctx-k", strings.Repeat("x", largest)),
		number("6", context, "a:6:0:1", "uberctx-k", strings.Repeat("\n", 400_000)), // three times as long when it is encoded
		number("8", "jaeger-debug-id", "look here"),
		number("10", context, " a:10:0:1\t"),
		number("12", "jaeger-baggage", "k=v, user id=x"), // not sampled
		number("14", "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate", "rojo=1"),
	)
	addr := tracingtest.FreeAddr(t)
	cmd, out := program(t, []string{"KAFKA_BROKERS=" + b.Addr(), "HTTP_ADDR=" + addr, "SESSION_TIMEOUT=6s", "JAEGER_SAMPLER_PARAM=0"})
	require.NoError(t, cmd.Start())

	sorted := map[string]*kgo.Record{}
	for _, r := range tracingtest.ReadTopic(t, b.Addr(), "even-topic", 7) {
		sorted[string(r.Value)] = r
	}
	spans := map[any]tracingtest.Span{} // the From_ span of each number
	all := tracingtest.SpansOnTopic(t, b.Addr(), "tracing-topic", 12)
	for _, s := range all {
		if s.Operation == "From_number-topic" {
			spans[s.Tags["number.value"]] = s
		}
	}
	metrics := get(t, "http://"+addr+"/metrics")
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait(), out.String())

	assert.Len(t, all, 12)
	for _, want := range []struct {
		number, parent, baggage string
		dropped, debugID        any
		flags                   string
	}{
		{"2", "0000000000000002", "v", `"user id"`, nil, "1"},
		{"4", "0000000000000004", "", `"k"`, nil, "1"},
		{"6", "0000000000000006", "", `"k"`, nil, "1"},
		{"8", "", "", nil, "look here", "3"},
		{"10", "0000000000000010", "", nil, nil, "1"},
		{"14", "b7ad6b7169203331", "", nil, nil, "1"},
	} {
		from := spans[want.number]
		assert.Equal(t, want.parent, from.ParentID, want.number)
		assert.Equal(t, want.dropped, from.Tags["baggage.dropped"], want.number)
		assert.Equal(t, want.debugID, from.Tags["jaeger-debug-id"], want.number)
		require.Contains(t, sorted, want.number)
		written := tracingtest.Header(sorted[want.number], context)
		assert.True(t, strings.HasPrefix(written, from.TraceID+":") && strings.HasSuffix(written, ":"+from.ID+":"+want.flags), "%s: %s", want.number, written)
		assert.Equal(t, want.baggage, tracingtest.Header(sorted[want.number], "uberctx-k"), want.number)
	}
	assert.Equal(t, "0af7651916cd43dd8448eb211c80319c", spans["14"].TraceID)
	assert.Contains(t, tracingtest.Header(sorted["14"], "traceparent"), "00-0af7651916cd43dd8448eb211c80319c-")
	assert.Equal(t, "rojo=1", tracingtest.Header(sorted["14"], "tracestate"))
	assert.Equal(t, "v", tracingtest.Header(sorted["12"], "uberctx-k"))
	assert.Contains(t, metrics, `tracing_baggage_dropped_total{reason="invalid_name"} 2`)
	assert.Contains(t, metrics, `tracing_baggage_dropped_total{reason="too_large"} 2`)
	assert.Equal(t, 2, strings.Count(out.String(), "baggage is dropped"), "one line for each reason")
	assert.NotContains(t, out.String(), "processor stopped")
}

func get(t *testing.T, url string) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(body)
}
