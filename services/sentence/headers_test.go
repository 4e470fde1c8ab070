package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"fault-tolerant-tracing/services/internal/service"
	"fault-tolerant-tracing/tracing/propagation"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestNoHeaderHoldsASentence(t *testing.T) {
	full := strings.Repeat("x", propagation.MaxBaggageBytes-len("uberctx-k: \r\n"))
	for _, tt := range []struct {
		name     string
		headers  []kgo.RecordHeader
		parent   string
		baggage  string         // what random and the next record get
		tags     map[string]any // of the From_ span
		counters []string       // in /metrics
	}{
		{"baggage with a name that HTTP does not take", headers("uber-trace-id", "a:b:0:1", "uberctx-user id", "x", "uberctx-k", "v"), "000000000000000b", "v",
			map[string]any{"baggage.dropped": `"user id"`}, []string{`{reason="invalid_name"} 1`, `{reason="too_large"} 0`}},
		{"100 kB of baggage", headers("uber-trace-id", "a:b:0:1", "uberctx-k", strings.Repeat("x", 100_000)), "000000000000000b", "",
			map[string]any{"baggage.dropped": `"k"`}, []string{`{reason="invalid_name"} 0`, `{reason="too_large"} 1`}},
		{"as much baggage as may be", headers("uber-trace-id", "a:b:0:1", "uberctx-k", full), "000000000000000b", full,
			nil, []string{`{reason="invalid_name"} 0`, `{reason="too_large"} 0`}},
		{"a debug id", headers("jaeger-debug-id", "look here"), "", "",
			map[string]any{"jaeger-debug-id": "look here"}, nil},
		{"baggage for a new trace", headers("jaeger-baggage", "k=v"), "", "v", nil, nil},
		{"a context of OpenTelemetry", headers("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate", "rojo=1"), "b7ad6b7169203331", "", nil, nil},
		{"blanks around the context", headers("uber-trace-id", " a:b:0:1 "), "000000000000000b", "", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			broker, seen, addr := newBroker(t), make(chan http.Header, 1), tracingtest.FreeAddr(t)
			random := startLimitedRandom(t, seen)
			start(t, broker, random, "HTTP_ADDR="+addr)
			record := number(6)
			record.Headers = tt.headers
			produce(t, broker, record)

			requireEachOnce(t, broker, 6, 6)
			written := map[string]string{}
			for _, h := range tracingtest.ReadTopic(t, broker.Addr(), "sentence-topic", 1)[0].Headers {
				written[h.Key] = string(h.Value)
			}
			spans := tracingtest.SpansOnTopic(t, broker.Addr(), "tracing-topic", 4)
			from, asked := tracingtest.Named(t, spans, "From_even-topic"), <-seen
			assert.Equal(t, tt.parent, from.ParentID)
			for _, tag := range []string{"baggage.dropped", "jaeger-debug-id"} {
				assert.Equal(t, tt.tags[tag], from.Tags[tag], tag)
			}
			assert.Equal(t, tt.baggage, asked.Get("Uberctx-K"))
			assert.Equal(t, tt.baggage, written["uberctx-k"])
			flags := ":1"
			if tt.tags["jaeger-debug-id"] != nil {
				flags = ":3"
			}
			for _, context := range []string{asked.Get("Uber-Trace-Id"), written["uber-trace-id"]} {
				assert.True(t, strings.HasPrefix(context, from.TraceID+":") && strings.HasSuffix(context, flags), context)
			}
			for _, context := range []string{asked.Get("Traceparent"), written["traceparent"]} {
				assert.Contains(t, context, from.TraceID+"-")
			}
			for _, state := range []string{asked.Get("Tracestate"), written["tracestate"]} {
				assert.Equal(t, tracingtest.Header(record, "tracestate"), state)
			}
			metrics := get(t, "http://"+addr+"/metrics")
			for _, counter := range tt.counters {
				assert.Contains(t, metrics, "tracing_baggage_dropped_total"+counter)
			}
		})
	}
}

// startLimitedRandom starts a service random with the limits of the real one.
func startLimitedRandom(t *testing.T, seen chan<- http.Header) (url string) {
	t.Helper()
	addr := tracingtest.FreeAddr(t)
	ops, err := service.Listen(service.Addr(addr), slog.New(slog.DiscardHandler), func(r chi.Router) {
		r.Post("/random", func(w http.ResponseWriter, r *http.Request) {
			says(`{"number":1}`)(w, r)
			seen <- r.Header
		})
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, ops.Close(context.Background())) })
	return "http://" + addr
}

// headers makes headers of names and values.
func headers(pairs ...string) []kgo.RecordHeader {
	var list []kgo.RecordHeader
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, kgo.RecordHeader{Key: pairs[i], Value: []byte(pairs[i+1])})
	}
	return list
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
