package main

import (
	"context"
	"io"
	"log"
	"log/slog"
	"strings"
	"testing"

	"fault-tolerant-tracing/tracing"
	"fault-tolerant-tracing/tracing/gokatrace"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/lovoo/goka"
	"github.com/lovoo/goka/tester"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheGraphSortsNumbers(t *testing.T) {
	long := strings.Repeat("7", 1000)
	tests := []struct {
		name, value            string
		topic, key, want, kind string
	}{
		{name: "even", value: "6", topic: "even-topic", key: "6", want: "6", kind: "even"},
		{name: "odd", value: "7", topic: "odd-topic", key: "7", want: "7", kind: "odd"},
		{name: "canonical", value: " -008\r\n", topic: "even-topic", key: "-8", want: "-8", kind: "even"},
		{name: "key of a long number", value: long, topic: "odd-topic", key: long[:256], want: long, kind: "odd"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tracer, recorder := tracingtest.NewTracer(t, group)
			cfg := testConfig("")
			metrics := prometheus.NewRegistry()
			s, err := newStream(cfg, cfg.Kafka.Cluster(), &tracing.Tracer{Tracer: tracer}, nil, metrics, slog.New(slog.DiscardHandler))
			require.NoError(t, err)
			gt := tester.New(t)
			options := append(s.options(goka.DefaultConfig()), goka.WithTester(gt), goka.WithLogger(log.New(io.Discard, "", 0)),
				goka.WithProducerBuilder(gokatrace.ProducerBuilder(tracer, gt.ProducerBuilder(), numberTags)))
			p, err := goka.NewProcessor(nil, s.graph, options...)
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- p.Run(ctx) }()
			defer func() { cancel(); assert.NoError(t, <-ended) }()
			written := gt.NewQueueTracker(tt.topic)

			gt.Consume("number-topic", "given", []byte(tt.value), tester.WithHeaders(goka.Headers{"uber-trace-id": []byte("a:b:0:1"), "own": []byte("stays")}))

			headers, key, value, ok := written.NextRawWithHeaders()
			require.True(t, ok, "nothing on %s", tt.topic)
			assert.Equal(t, tt.key, key)
			assert.Equal(t, tt.want, string(value))
			from, to := tracingtest.Named(t, recorder.Wait(t, 2), "From_number-topic"), tracingtest.Named(t, recorder.Wait(t, 2), "To_"+tt.topic)
			assert.Equal(t, "000000000000000b", from.ParentID)
			assert.Equal(t, from.ID, to.ParentID)
			assert.Equal(t, to.TraceID+":"+to.ID+":"+to.ParentID+":1", string(headers["uber-trace-id"]))
			assert.Equal(t, to.Traceparent(), string(headers["traceparent"]))
			assert.Len(t, headers, 2, "headers of the number are not passed on")
			assert.Equal(t, tt.key, from.Tags[numberValue])
			assert.Equal(t, tt.key, to.Tags[numberValue])
			assert.NotContains(t, from.Tags, "error")
			assert.NoError(t, testutil.GatherAndCompare(metrics, strings.NewReader(`
# HELP stream_records_total Records sorted, by result: even, odd or set_aside.
# TYPE stream_records_total counter
stream_records_total{result="`+tt.kind+`"} 1
`), "stream_records_total"))
		})
	}
}
