package gokatrace_test

import (
	"context"
	"errors"
	"hash"
	"io"
	"log"
	"testing"
	"time"

	"fault-tolerant-tracing/tracing/gokatrace"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"
	"github.com/lovoo/goka/codec"
	"github.com/lovoo/goka/tester"
	"github.com/opentracing/opentracing-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { tracingtest.VerifyMain(m) }

func graph(tracer opentracing.Tracer, cb goka.ProcessCallback) *goka.GroupGraph {
	return goka.DefineGroup("stream-app",
		goka.Input("number-topic", new(codec.Bytes), gokatrace.Callback(tracer, cb)),
		goka.Output("even-topic", new(codec.Bytes)),
		goka.Loop(new(codec.Bytes), gokatrace.Callback(tracer, func(goka.Context, any) {})),
	)
}

// run runs a processor until the test ends and returns what Run returned.
func run(t *testing.T, brokers []string, g *goka.GroupGraph, options ...goka.ProcessorOption) <-chan error {
	t.Helper()
	p, err := goka.NewProcessor(brokers, g, append(options, goka.WithLogger(log.New(io.Discard, "", 0)))...)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		ended <- p.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-stopped })
	return ended
}

func TestSpansOfAProcessorFormAChain(t *testing.T) {
	tracer, recorder := tracingtest.NewTracer(t, "test")
	var inCallback string
	g := graph(tracer, func(ctx goka.Context, msg any) {
		span := opentracing.SpanFromContext(ctx.Context())
		span.SetTag("seen", true)
		inCallback = string(ctx.Topic())
		stale := goka.WithCtxEmitHeaders(goka.Headers{"uber-trace-id": []byte("1:1:0:1"), "Traceparent": []byte("stale"), "other": []byte("stays")})
		ctx.Emit("even-topic", "6", msg, stale)
		ctx.Loopback("6", msg)
	})
	gt := tester.New(t)
	more := func(topic, key string, value []byte) opentracing.Tags {
		return opentracing.Tags{"emitted": topic + " " + key + " " + string(value)}
	}
	run(t, nil, g, goka.WithTester(gt), goka.WithProducerBuilder(gokatrace.ProducerBuilder(tracer, gt.ProducerBuilder(), more)))
	written := gt.NewQueueTracker("even-topic")

	gt.Consume("number-topic", "", []byte("6"), tester.WithHeaders(goka.Headers{"uber-trace-id": []byte("abc:def:0:1")}))

	assert.Equal(t, "number-topic", inCallback)
	spans := recorder.Spans()
	require.Len(t, spans, 4)
	from, to := tracingtest.Named(t, spans, "From_number-topic"), tracingtest.Named(t, spans, "To_even-topic")
	assert.Equal(t, "0000000000000abc", from.TraceID)
	assert.Equal(t, "0000000000000def", from.ParentID)
	assert.Equal(t, from.TraceID, to.TraceID)
	assert.Equal(t, from.ID, to.ParentID)
	assert.Equal(t, map[string]any{
		"span.kind": "consumer", "component": "goka", "peer.service": "kafka", "message_bus.destination": "number-topic",
		"partition": int64(0), "offset": int64(0), "seen": true,
	}, from.Tags)
	assert.Equal(t, map[string]any{
		"span.kind": "producer", "component": "goka", "peer.service": "kafka", "message_bus.destination": "even-topic",
		"partition": int64(0), "offset": int64(0), "emitted": "even-topic 6 6",
	}, to.Tags)
	headers, key, value, ok := written.NextRawWithHeaders()
	require.True(t, ok)
	assert.Equal(t, "6", key)
	assert.Equal(t, "6", string(value))
	assert.Equal(t, goka.Headers{
		"uber-trace-id": []byte(to.TraceID + ":" + to.ID + ":" + to.ParentID + ":1"),
		"traceparent":   []byte(to.Traceparent()),
		"other":         []byte("stays"),
	}, headers)
	toLoop, fromLoop := tracingtest.Named(t, spans, "To_stream-app-loop"), tracingtest.Named(t, spans, "From_stream-app-loop")
	assert.Equal(t, from.ID, toLoop.ParentID)
	assert.Equal(t, toLoop.ID, fromLoop.ParentID)
}

func TestAMalformedContextStartsATrace(t *testing.T) {
	tracer, recorder := tracingtest.NewTracer(t, "test")
	gt := tester.New(t)
	run(t, nil, graph(tracer, func(goka.Context, any) {}), goka.WithTester(gt))

	gt.Consume("number-topic", "", []byte("6"), tester.WithHeaders(goka.Headers{"uber-trace-id": []byte("0:0:0")}))

	assert.Empty(t, tracingtest.Named(t, recorder.Wait(t, 1), "From_number-topic").ParentID)
}

func TestAFailedCallbackLeavesAnErrorAndStopsTheProcessor(t *testing.T) {
	tracer, recorder := tracingtest.NewTracer(t, "test")
	b := tracingtest.StartBroker(t)
	b.CreateTopics(t, 1, "number-topic", "even-topic", "stream-app-loop")
	g := graph(tracer, func(ctx goka.Context, _ any) { ctx.Fail(errors.New("no way")) })
	ended := run(t, []string{b.Addr()}, g, options(config(t), tracer)...)
	emit(t, b, goka.Headers{})

	select {
	case err := <-ended:
		assert.ErrorContains(t, err, "no way")
	case <-time.After(time.Minute):
		t.Fatal("the processor goes on after ctx.Fail")
	}
	span := tracingtest.Named(t, recorder.Spans(), "From_number-topic")
	assert.Equal(t, true, span.Tags["error"])
	require.Len(t, span.Logs, 1)
	assert.Equal(t, "no way", span.Logs[0]["message"])
}

func TestAPanicLeavesAnError(t *testing.T) {
	tracer, recorder := tracingtest.NewTracer(t, "test")
	cb := gokatrace.Callback(tracer, func(goka.Context, any) { panic("made up") })
	assert.PanicsWithValue(t, "made up", func() { cb(stubContext{}, nil) })
	span := tracingtest.Named(t, recorder.Spans(), "From_number-topic")
	assert.Equal(t, true, span.Tags["error"])
	require.Len(t, span.Logs, 1)
	assert.Contains(t, span.Logs[0]["message"], "did not return")
}

// stubContext is what Callback needs of goka's context outside a processor, which
// would end the test by the panic.
type stubContext struct{ gokaContext }

type gokaContext = goka.Context // embedded by this name, as Context is a method

func (stubContext) Headers() goka.Headers { return nil }
func (stubContext) Topic() goka.Stream    { return "number-topic" }
func (stubContext) Partition() int32      { return 0 }
func (stubContext) Offset() int64         { return 0 }

func TestAMessageWithoutContextPassesUntouched(t *testing.T) {
	tracer, recorder := tracingtest.NewTracer(t, "test")
	inner := &fakeProducer{}
	p := build(t, tracer, inner)
	headers := goka.Headers{"other": []byte("stays"), "uber-trace-id": []byte("?")}

	p.EmitWithHeaders("even-topic", "6", []byte("6"), headers)
	p.EmitWithHeaders("even-topic", "6", []byte("6"), nil)
	p.Emit("even-topic", "6", []byte("6"))

	assert.Equal(t, []goka.Headers{headers, nil, nil}, inner.headers)
	assert.Empty(t, recorder.Spans())
}

func TestTheSpanEndsWithTheDelivery(t *testing.T) {
	tests := []struct {
		name string
		msg  *sarama.ProducerMessage
		err  error
		want map[string]any
	}{
		{"delivered", &sarama.ProducerMessage{Partition: 2, Offset: 7}, nil, map[string]any{"partition": int64(2), "offset": int64(7)}},
		{"delivered, nobody says where", nil, nil, map[string]any{}},
		{"failed", nil, errors.New("not taken"), map[string]any{"error": true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tracer, recorder := tracingtest.NewTracer(t, "test")
			inner := &fakeProducer{}
			given := goka.Headers{"uber-trace-id": []byte("a:b:0:1")}
			promise := build(t, tracer, inner).EmitWithHeaders("even-topic", "6", []byte("6"), given)
			var told error
			promise.Then(func(err error) { told = err })
			require.Empty(t, recorder.Spans(), "finished before the delivery")

			inner.finish(tt.msg, tt.err)

			assert.Equal(t, tt.err, told)
			assert.Equal(t, goka.Headers{"uber-trace-id": []byte("a:b:0:1")}, given, "the caller's headers were changed")
			span := tracingtest.Named(t, recorder.Spans(), "To_even-topic")
			assert.Equal(t, "000000000000000b", span.ParentID)
			for _, key := range []string{"span.kind", "component", "peer.service", "message_bus.destination"} {
				delete(span.Tags, key)
			}
			assert.Equal(t, tt.want, span.Tags)
			if tt.err != nil {
				require.Len(t, span.Logs, 1)
				assert.Equal(t, tt.err.Error(), span.Logs[0]["message"])
			}
		})
	}
}

func TestNothingOfAnOlderContextIsLeft(t *testing.T) {
	tracer, recorder := tracingtest.NewTracer(t, "test")
	inner := &fakeProducer{}
	build(t, tracer, inner).EmitWithHeaders("even-topic", "6", []byte("6"), goka.Headers{
		"uber-trace-id": []byte("a:b:0:1"),
		"Traceparent":   []byte("00-000000000000000000000000000000ff-000000000000000b-01"),
		"Tracestate":    []byte("of=another"),
		"other":         []byte("stays"),
	})
	inner.finish(nil, nil)
	to := tracingtest.Named(t, recorder.Spans(), "To_even-topic")
	assert.Equal(t, goka.Headers{
		"uber-trace-id": []byte(to.TraceID + ":" + to.ID + ":" + to.ParentID + ":1"),
		"traceparent":   []byte(to.Traceparent()),
		"other":         []byte("stays"),
	}, inner.headers[0])
}

func TestABuilderThatFailsFails(t *testing.T) {
	tracer, _ := tracingtest.NewTracer(t, "test")
	failed := errors.New("no broker")
	_, err := gokatrace.ProducerBuilder(tracer, func([]string, string, func() hash.Hash32) (goka.Producer, error) {
		return nil, failed
	})(nil, "", nil)
	assert.ErrorIs(t, err, failed)
}

type fakeProducer struct {
	headers []goka.Headers
	finish  goka.PromiseFinisher
}

func (p *fakeProducer) Emit(topic, key string, value []byte) *goka.Promise {
	return p.EmitWithHeaders(topic, key, value, nil)
}

func (p *fakeProducer) EmitWithHeaders(_, _ string, _ []byte, headers goka.Headers) *goka.Promise {
	p.headers = append(p.headers, headers)
	promise, finish := goka.NewPromiseWithFinisher()
	p.finish = finish
	return promise
}

func (p *fakeProducer) Close() error { return nil }

func build(t *testing.T, tracer opentracing.Tracer, inner goka.Producer) goka.Producer {
	t.Helper()
	p, err := gokatrace.ProducerBuilder(tracer, func([]string, string, func() hash.Hash32) (goka.Producer, error) {
		return inner, nil
	})(nil, "", nil)
	require.NoError(t, err)
	return p
}
