package propagation_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"fault-tolerant-tracing/tracing/gokatrace"
	"fault-tolerant-tracing/tracing/httptrace"
	"fault-tolerant-tracing/tracing/kafkatrace"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/lovoo/goka"
	"github.com/lovoo/goka/codec"
	"github.com/lovoo/goka/tester"
	"github.com/opentracing/opentracing-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/uber/jaeger-client-go"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// newOpenTelemetry returns a tracer of OpenTelemetry and the spans it ended.
func newOpenTelemetry() (trace.Tracer, *tracetest.InMemoryExporter) {
	spans := tracetest.NewInMemoryExporter()
	return sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)).Tracer("test"), spans
}

// hop is a service of ours on the way of a trace: before writes the headers that
// it gets, after reads those that it sends.
type hop func(t *testing.T, tracer opentracing.Tracer, before, after func(propagation.TextMapCarrier))

func TestATraceGoesOnBetweenOpenTelemetryServices(t *testing.T) {
	for name, through := range map[string]hop{"HTTP": overHTTP, "Kafka": overKafka, "goka": overGoka} {
		for _, flags := range []trace.TraceFlags{0, trace.FlagsSampled} {
			t.Run(fmt.Sprintf("%s, flags %s", name, flags), func(t *testing.T) {
				theirs, ended := newOpenTelemetry()
				tracer, recorder := tracingtest.NewTracer(t, "ours")
				state, err := trace.ParseTraceState("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE")
				require.NoError(t, err)
				cause := trace.NewSpanContext(trace.SpanContextConfig{
					TraceID: trace.TraceID{0: 0xa, 15: 0xb}, SpanID: trace.SpanID{0xc}, TraceFlags: flags, TraceState: state,
				})
				ctx, first := theirs.Start(trace.ContextWithRemoteSpanContext(t.Context(), cause), "first")
				var parent, last trace.SpanContext

				through(t, tracer,
					func(headers propagation.TextMapCarrier) { propagation.TraceContext{}.Inject(ctx, headers) },
					func(headers propagation.TextMapCarrier) {
						ctx := propagation.TraceContext{}.Extract(t.Context(), headers)
						parent = trace.SpanContextFromContext(ctx)
						_, span := theirs.Start(ctx, "last")
						last = span.SpanContext()
						span.End()
					})
				first.End()

				assert.Equal(t, cause.TraceID(), last.TraceID())
				assert.Equal(t, flags, last.TraceFlags()&trace.FlagsSampled)
				assert.Equal(t, state.String(), last.TraceState().String())
				assert.NotEqual(t, first.SpanContext().SpanID(), parent.SpanID())
				if flags != trace.FlagsSampled {
					assert.Empty(t, recorder.Spans())
					assert.Empty(t, ended.GetSpans())
					return
				}
				assert.Len(t, ended.GetSpans(), 2)
				ours := recorder.Wait(t, 2)
				parents := map[string]string{}
				for _, span := range ours {
					assert.Equal(t, cause.TraceID().String(), span.TraceID)
					parents[span.ID] = span.ParentID
				}
				id := parent.SpanID().String()
				for range ours {
					id = parents[id]
				}
				assert.Equal(t, first.SpanContext().SpanID().String(), id, "all of our spans lie between theirs")
			})
		}
	}
}

func overHTTP(t *testing.T, tracer opentracing.Tracer, before, after func(propagation.TextMapCarrier)) {
	do := func(client *http.Client, req *http.Request) {
		res, err := client.Do(req)
		if assert.NoError(t, err) {
			assert.NoError(t, res.Body.Close())
		}
	}
	last := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { after(propagation.HeaderCarrier(r.Header)) }))
	t.Cleanup(last.Close)
	ours := httptest.NewServer(httptrace.Middleware(tracer)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		req, err := http.NewRequestWithContext(r.Context(), http.MethodPost, last.URL, nil)
		if assert.NoError(t, err) {
			do(&http.Client{Transport: httptrace.RoundTripper(tracer, last.Client().Transport)}, req)
		}
	})))
	t.Cleanup(ours.Close)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, ours.URL, nil)
	require.NoError(t, err)
	before(propagation.HeaderCarrier(req.Header))
	do(ours.Client(), req)
	ours.Close() // its span is finished
}

func overKafka(t *testing.T, tracer opentracing.Tracer, before, after func(propagation.TextMapCarrier)) {
	headers, sent := propagation.MapCarrier{}, propagation.MapCarrier{}
	before(headers)
	received, answer := &kafka.Message{}, &kafka.Message{}
	for name, value := range headers {
		received.Headers = append(received.Headers, kafka.Header{Key: name, Value: []byte(value)})
	}
	from := kafkatrace.StartConsumeSpan(tracer, received)
	to := kafkatrace.StartProduceSpan(tracer, from.Context(), answer)
	kafkatrace.FinishProduceSpan(to, kafka.TopicPartition{}, nil)
	from.Finish()
	for _, h := range answer.Headers {
		assert.NotContains(t, sent, h.Key)
		sent[h.Key] = string(h.Value)
	}
	after(sent)
}

func overGoka(t *testing.T, tracer opentracing.Tracer, before, after func(propagation.TextMapCarrier)) {
	headers, sent := propagation.MapCarrier{}, propagation.MapCarrier{}
	before(headers)
	received := goka.Headers{}
	for name, value := range headers {
		received[name] = []byte(value)
	}
	gt := tester.New(t)
	processor, err := goka.NewProcessor(nil, goka.DefineGroup("group",
		goka.Input("in", new(codec.Bytes), gokatrace.Callback(tracer, func(ctx goka.Context, msg any) { ctx.Emit("out", "key", msg) })),
		goka.Output("out", new(codec.Bytes)),
	), goka.WithTester(gt), goka.WithLogger(log.New(io.Discard, "", 0)),
		goka.WithProducerBuilder(gokatrace.ProducerBuilder(tracer, gt.ProducerBuilder())))
	require.NoError(t, err)
	stopped := make(chan error, 1)
	go func() { stopped <- processor.Run(t.Context()) }()
	written := gt.NewQueueTracker("out")
	gt.Consume("in", "key", []byte("6"), tester.WithHeaders(received))
	processor.Stop()
	require.NoError(t, <-stopped)
	answer, _, _, ok := written.NextRawWithHeaders()
	require.True(t, ok)
	for name, value := range answer {
		sent[name] = string(value)
	}
	after(sent)
}

func TestATraceOfOursGoesOnThroughOpenTelemetry(t *testing.T) {
	theirs, ended := newOpenTelemetry()
	ours := newTraced(t, true)
	root := ours.StartSpan("root").(*jaeger.Span)
	sent, back := propagation.MapCarrier{}, propagation.MapCarrier{}
	require.NoError(t, ours.Inject(root.Context(), opentracing.HTTPHeaders, opentracing.TextMapCarrier(sent)))
	ctx, between := theirs.Start(propagation.TraceContext{}.Extract(t.Context(), sent), "between")
	propagation.TraceContext{}.Inject(ctx, back)
	between.End()

	sc, err := ours.read(back)
	require.NoError(t, err)

	require.Len(t, ended.GetSpans(), 1)
	assert.Equal(t, root.SpanContext().SpanID().String(), ended.GetSpans()[0].Parent.SpanID().String())
	assert.Equal(t, between.SpanContext().SpanID().String(), sc.SpanID().String())
	assert.Equal(t, root.SpanContext().TraceID(), sc.TraceID(), "it has 64 bits")
	assert.True(t, sc.IsSampled())
}

// FuzzTraceparent compares what is read with what OpenTelemetry reads. In version
// 00 that takes "-" at the end, and refuses flags that it does not know, both
// against the specification.
func FuzzTraceparent(f *testing.F) {
	for _, value := range []string{traceparent, traceparent + "-", traceparent[:53] + "f4", "cc" + traceparent[2:] + "-what", "ff" + traceparent[2:], strings.ToUpper(traceparent), ""} {
		f.Add(value)
	}
	tracer := newTraced(f, true)
	f.Fuzz(func(t *testing.T, value string) {
		ours, want := opentracing.TextMapCarrier{}, ""
		if sc, err := tracer.read(map[string]string{"traceparent": value}); err == nil {
			require.NoError(t, tracer.Inject(sc, opentracing.HTTPHeaders, ours))
		}

		value = strings.TrimSpace(value)
		if strings.HasPrefix(value, "00-") && len(value) == len(traceparent) {
			value = "01" + value[2:] // of which it takes any flags
		}
		ctx := propagation.TraceContext{}.Extract(t.Context(), propagation.MapCarrier{"traceparent": value})
		theirs := trace.SpanContextFromContext(ctx)
		if theirs.IsValid() && !strings.HasPrefix(value, "00-") {
			want = fmt.Sprintf("00-%s-%s-%s", theirs.TraceID(), theirs.SpanID(), theirs.TraceFlags()&trace.FlagsSampled)
		}
		require.Equal(t, want, ours["traceparent"])
	})
}
