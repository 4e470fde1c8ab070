package otelkafka

import (
	"context"
	"errors"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fault-tolerant-tracing/tracing/numbering"
	"fault-tolerant-tracing/tracing/otlp"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	commonpb "go.opentelemetry.io/proto/slim/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/slim/otlp/trace/v1"
)

func TestSpansArriveAsTheSDKRecordedThem(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	e, _ := startExporter(t, Config{Kafka: cluster(b.Addr())}, nil)
	recorded := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(e), sdktrace.WithSpanProcessor(recorded),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", "checkout"))))
	tracer := provider.Tracer("shop", trace.WithInstrumentationVersion("1.2"))
	ctx, parent := tracer.Start(t.Context(), "GET /", trace.WithSpanKind(trace.SpanKindServer))
	_, child := tracer.Start(ctx, "To_even-topic", trace.WithSpanKind(trace.SpanKindProducer),
		trace.WithLinks(trace.Link{SpanContext: parent.SpanContext(), Attributes: []attribute.KeyValue{attribute.Bool("again", true)}}),
		trace.WithAttributes(attribute.Int("partition", 3), attribute.Float64("load", 0.5), attribute.StringSlice("tags", []string{"a", "ö"})))
	child.AddEvent("retry", trace.WithAttributes(attribute.String("why", "queue full")))
	child.SetStatus(codes.Error, "no answer")
	child.End()
	parent.End()
	require.NoError(t, provider.Shutdown(ending(t, patience)))

	request, err := otlp.Decode(read(t, b, 1)[0].Value)
	require.NoError(t, err)
	require.Len(t, request.ResourceSpans, 1)
	assert.Equal(t, map[string]string{"service.name": "checkout"}, texts(request.ResourceSpans[0].Resource.Attributes))
	require.Len(t, request.ResourceSpans[0].ScopeSpans, 1)
	scope := request.ResourceSpans[0].ScopeSpans[0]
	assert.Equal(t, "shop 1.2", scope.Scope.Name+" "+scope.Scope.Version)
	require.Len(t, scope.Spans, 2)
	for i, want := range recorded.Ended() {
		assertSame(t, want, scope.Spans[i])
	}
}

func TestFlushReturnsWhenKafkaHasAllSpans(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	e, _ := startExporter(t, Config{Kafka: cluster(b.Addr())}, nil)
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(e, sdktrace.WithBatchTimeout(time.Hour)))
	flush := func(ctx context.Context) error {
		require.NoError(t, provider.ForceFlush(ending(t, patience)))
		return e.Flush(ctx)
	}
	end := func(name string) {
		_, span := provider.Tracer("test").Start(t.Context(), name)
		span.End()
	}
	require.NoError(t, flush(ending(t, patience)), "there is none")
	end("one")
	require.NoError(t, flush(ending(t, patience)))
	assert.Equal(t, []string{"one"}, operations(read(t, b, 0)), "it is there at once")

	b.Stop()
	end("two")
	require.ErrorIs(t, flush(ending(t, 200*time.Millisecond)), context.DeadlineExceeded)
	require.NoError(t, b.Start())
	require.NoError(t, flush(ending(t, patience)))
	assert.Equal(t, []string{"one", "two"}, operations(read(t, b, 0)))
	require.NoError(t, provider.Shutdown(ending(t, patience)))
}

// assertSame compares a span of the SDK with one that was written.
func assertSame(t *testing.T, want sdktrace.ReadOnlySpan, got *tracepb.Span) {
	t.Helper()
	traceID, spanID, parentID := want.SpanContext().TraceID(), want.SpanContext().SpanID(), want.Parent().SpanID()
	assert.Equal(t, want.Name(), got.Name)
	assert.Equal(t, traceID[:], got.TraceId)
	assert.Equal(t, spanID[:], got.SpanId)
	if want.Parent().HasSpanID() {
		assert.Equal(t, parentID[:], got.ParentSpanId)
	} else {
		assert.Empty(t, got.ParentSpanId)
	}
	assert.Equal(t, "SPAN_KIND_"+strings.ToUpper(want.SpanKind().String()), got.Kind.String())
	assert.EqualValues(t, want.StartTime().UnixNano(), got.StartTimeUnixNano)
	assert.EqualValues(t, want.EndTime().UnixNano(), got.EndTimeUnixNano)
	assert.Equal(t, want.Status().Code == codes.Error, got.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR)
	assert.Equal(t, want.Status().Description, got.Status.GetMessage())
	assert.Equal(t, recordedTexts(want.Attributes()), texts(got.Attributes))
	require.Len(t, got.Events, len(want.Events()))
	for i, event := range want.Events() {
		assert.Equal(t, event.Name, got.Events[i].Name)
		assert.EqualValues(t, event.Time.UnixNano(), got.Events[i].TimeUnixNano)
		assert.Equal(t, recordedTexts(event.Attributes), texts(got.Events[i].Attributes))
	}
	require.Len(t, got.Links, len(want.Links()))
	for i, link := range want.Links() {
		id := link.SpanContext.SpanID()
		assert.Equal(t, id[:], got.Links[i].SpanId)
		assert.Equal(t, recordedTexts(link.Attributes), texts(got.Links[i].Attributes))
	}
}

// recordedTexts writes attributes of the SDK down as texts does with written ones.
func recordedTexts(attributes []attribute.KeyValue) map[string]string {
	m := map[string]string{}
	for _, a := range attributes {
		m[string(a.Key)] = a.Value.String()
	}
	return m
}

func texts(attributes []*commonpb.KeyValue) map[string]string {
	m := map[string]string{}
	for _, a := range attributes {
		m[a.Key] = value(a.Value).String()
	}
	return m
}

func value(v *commonpb.AnyValue) attribute.Value {
	switch v := v.GetValue().(type) {
	case *commonpb.AnyValue_StringValue:
		return attribute.StringValue(v.StringValue)
	case *commonpb.AnyValue_BoolValue:
		return attribute.BoolValue(v.BoolValue)
	case *commonpb.AnyValue_IntValue:
		return attribute.Int64Value(v.IntValue)
	case *commonpb.AnyValue_DoubleValue:
		return attribute.Float64Value(v.DoubleValue)
	case *commonpb.AnyValue_ArrayValue:
		var list []string
		for _, one := range v.ArrayValue.Values {
			list = append(list, one.GetStringValue())
		}
		return attribute.StringSliceValue(list)
	}
	return attribute.Value{}
}

func TestRecordsAreKeyedByTheProcessAndNumbered(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	spans := newSource(t)
	keys := map[string]bool{}
	for range 2 {
		e, _ := startExporter(t, Config{Kafka: cluster(b.Addr())}, nil)
		for range 3 {
			spans.feed(t, e, 2)
		}
		require.NoError(t, e.Shutdown(ending(t, patience)))
	}
	records := read(t, b, 6)
	slices.SortStableFunc(records, func(a, b record) int { return strings.Compare(string(a.Key), string(b.Key)) })
	assert.Equal(t, []int64{1, 2, 3, 1, 2, 3}, seqNos(records))
	for i, r := range records {
		keys[string(r.Key)] = true
		assert.Regexp(t, "^[0-9a-f]{16}$", string(r.Key))
		assert.Equal(t, records[i/3*3].Partition, r.Partition)
		assert.Len(t, r.spans, 2)
		assert.Zero(t, r.losses)
	}
	assert.Len(t, keys, 2, "each has a uuid of its own")
}

func TestBrokerRestartLosesNothingAndKeepsTheOrder(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	e, lines := startExporter(t, Config{Kafka: cluster(b.Addr())}, nil)
	spans := newSource(t)
	feed := func(exports int) {
		for range exports {
			spans.feed(t, e, 10)
		}
	}
	feed(20)
	read(t, b, 1)
	feed(20)
	b.Stop()
	feed(20)
	lines.Wait(t, "librdkafka")
	require.NoError(t, b.Start())
	feed(20)
	require.NoError(t, e.Shutdown(ending(t, patience)))
	assertInOrder(t, read(t, b, 80), 800)
	assert.Zero(t, e.Losses())
}

// A broker that lost its memory does not know the idempotent producer any more.
func TestBrokerWithoutItsProducerState(t *testing.T) {
	t.Parallel()
	addr := tracingtest.FreeAddr(t)
	b, err := tracingtest.NewBroker(addr, "")
	require.NoError(t, err)
	t.Cleanup(b.Stop)
	b.CreateTopics(t, 1, DefaultTopic)
	e, lines := startExporter(t, Config{Kafka: cluster(addr)}, nil)
	spans := newSource(t)
	spans.feed(t, e, 10)
	read(t, b, 1)

	b.Stop()
	spans.feed(t, e, 10)
	require.NoError(t, b.Start())
	b.CreateTopics(t, 1, DefaultTopic)
	spans.feed(t, e, 10)
	lines.Wait(t, "kafka producer failed for good")
	require.NoError(t, e.Shutdown(ending(t, patience)))
	assert.Subset(t, operations(read(t, b, 2)), names(10, 30))
	assert.Zero(t, e.Losses())
}

func TestTopicMissingForLongerThanTheClientWaits(t *testing.T) {
	t.Parallel()
	b := tracingtest.StartBroker(t)
	e, lines := startExporter(t, Config{Kafka: cluster(b.Addr())}, kafka.ConfigMap{"topic.metadata.propagation.max.ms": 100})
	spans := newSource(t)
	spans.feed(t, e, 10)
	lines.Wait(t, "kafka did not take spans")
	spans.feed(t, e, 10)
	b.CreateTopics(t, 3, DefaultTopic)
	assertInOrder(t, read(t, b, 2), 20)
	lines.Wait(t, "spans reach kafka again")
	assert.Zero(t, e.Losses())
}

func TestAnExportTooLargeForARecordIsSplit(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	e, _ := startExporter(t, Config{Kafka: cluster(b.Addr())}, nil)
	newSource(t).feed(t, e, 31, payload(100_000))
	require.NoError(t, e.Shutdown(ending(t, patience)))
	records := read(t, b, 4)
	assertInOrder(t, records, 31)
	for _, r := range records {
		assert.LessOrEqual(t, len(r.Value), 900_000)
	}
}

func TestASpanTooLargeForARecordIsCountedAndTheRestGoesOn(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	e, lines := startExporter(t, Config{Kafka: cluster(b.Addr())}, nil)
	spans := newSource(t)
	all := slices.Concat(spans.spans(2), spans.spans(1, payload(900_000)), spans.spans(2))
	assert.ErrorContains(t, e.ExportSpans(t.Context(), all), "1 of 5 span(s) lost; in all full_queue=0 too_large=1 failed_to_emit=0")
	assert.Equal(t, numbering.Losses{TooLarge: 1}, e.Losses())
	for range 3 { // nothing is lost any more: the burst is over
		spans.feed(t, e, 1)
	}
	require.NoError(t, e.Shutdown(ending(t, patience)))

	records := read(t, b, 5)
	assert.Equal(t, append(names(0, 2), names(3, 8)...), operations(records))
	assert.Equal(t, numbering.Losses{TooLarge: 1}, records[len(records)-1].losses)
	assert.Equal(t, 1, lines.Count("losing spans"))
	assert.Equal(t, 1, lines.Count(`span \"span-2\" is too large for a record: 900`))
	assert.Equal(t, 1, lines.Count(`msg="lost spans" full_queue=0 too_large=1 failed_to_emit=0`))
}

func TestARecordTheTopicRefusesIsHalvedUntilItIsTaken(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	limitTopic(t, b, "20000")
	e, lines := startExporter(t, Config{Kafka: cluster(b.Addr())}, nil)
	spans := newSource(t)
	all := slices.Concat(spans.spans(30, payload(1000)), spans.spans(1, payload(30_000)), spans.spans(30, payload(1000)))
	require.NoError(t, e.ExportSpans(t.Context(), all), "nobody knows yet")
	spans.feed(t, e, 1)
	require.NoError(t, e.Shutdown(ending(t, patience)))

	records := read(t, b, 5)
	assert.Equal(t, append(names(0, 30), names(31, 62)...), operations(records))
	assert.Equal(t, []int64{1, 2}, slices.Compact(seqNos(records)), "the parts share the number of their record")
	assert.Equal(t, numbering.Losses{FailedToEmit: 1}, e.Losses())
	assert.Equal(t, 1, lines.Count("kafka refuses a record as too large"))
}

func limitTopic(t *testing.T, b *tracingtest.Broker, maxBytes string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()))
	require.NoError(t, err)
	defer client.Close()
	answers, err := kadm.NewClient(client).AlterTopicConfigs(ending(t, patience),
		[]kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: &maxBytes}}, DefaultTopic)
	require.NoError(t, err)
	_, err = answers.On(DefaultTopic, nil)
	require.NoError(t, err)
}

func TestFullBufferLosesTheNewestRecordsAndSaysSo(t *testing.T) {
	t.Parallel()
	addr := tracingtest.FreeAddr(t)
	e, lines := startExporter(t, Config{Kafka: cluster(addr), BufferBytes: 900_000}, nil)
	spans := newSource(t)
	export := func() error { return e.ExportSpans(t.Context(), spans.spans(3, payload(100_000))) } // of which two fit
	require.NoError(t, export())
	require.NoError(t, export())
	require.ErrorContains(t, export(), "3 of 3 span(s) lost; in all full_queue=0 too_large=0 failed_to_emit=3")
	require.ErrorContains(t, export(), "3 of 3 span(s) lost; in all full_queue=0 too_large=0 failed_to_emit=6")
	assert.Equal(t, numbering.Losses{FailedToEmit: 6}, e.Losses())
	assert.Equal(t, 1, lines.Count("losing spans"), "once per burst")

	b, err := tracingtest.NewBroker(addr, "")
	require.NoError(t, err)
	t.Cleanup(b.Stop)
	b.CreateTopics(t, 1, DefaultTopic)
	require.Eventually(t, func() bool { return e.outbox.Left() == 0 }, patience, tick)
	for range 2 { // nothing is lost any more: the burst is over
		require.NoError(t, export())
	}
	assert.Equal(t, 1, lines.Count(`msg="lost spans" full_queue=0 too_large=0 failed_to_emit=6`))
	require.NoError(t, e.Shutdown(ending(t, patience)))

	records := read(t, b, 4)
	assert.Equal(t, append(names(0, 6), names(12, 18)...), operations(records))
	assert.Equal(t, []int64{1, 2, 5, 6}, seqNos(records), "the lost records have used up their numbers")
	for i, lost := range []int64{0, 0, 6, 6} {
		assert.Equal(t, numbering.Losses{FailedToEmit: lost}, records[i].losses)
	}
}

func TestLossesTravelWithoutSpansWhenNoneFollow(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	e, lines := startExporter(t, Config{Kafka: cluster(b.Addr())}, nil)
	spans := newSource(t)
	require.Error(t, e.ExportSpans(t.Context(), spans.spans(1, payload(900_000))))
	require.NoError(t, e.Shutdown(ending(t, patience)))
	assert.Equal(t, 1, lines.Count(`msg="lost spans" full_queue=0 too_large=1 failed_to_emit=0`), "the burst ends here")
	records := read(t, b, 1)
	require.Len(t, records, 1)
	assert.EqualValues(t, 1, records[0].seqNo)
	assert.Equal(t, numbering.Losses{TooLarge: 1}, records[0].losses)
	request, err := otlp.Parse(records[0].Value)
	require.NoError(t, err)
	assert.Zero(t, request.Spans())
	assert.Contains(t, request.Service(), "unknown_service", "it says whose they are")
}

func TestTextThatIsNoUTF8IsRepaired(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	e, _ := startExporter(t, Config{Kafka: cluster(b.Addr())}, nil)
	spans := newSource(t)
	bad := attribute.Slice("bad\xffkey", attribute.StringValue("größe\xc3"), attribute.StringValue("ok"))
	require.NoError(t, e.ExportSpans(t.Context(), slices.Concat(spans.spans(1), spans.spans(1, bad), spans.spans(1))))
	require.NoError(t, e.Shutdown(ending(t, patience)))
	records := read(t, b, 1)
	assert.Equal(t, names(0, 3), operations(records))
	assert.Equal(t, map[string]string{"bad\ufffdkey": `["größe` + "\ufffd" + `","ok"]`}, texts(records[0].spans[1].Attributes))
	assert.Zero(t, e.Losses())
}

func TestSpansThatCannotBeEncodedAreCounted(t *testing.T) {
	e, lines := startExporter(t, Config{Kafka: cluster(tracingtest.FreeAddr(t))}, nil)
	deep := attribute.StringValue("x")
	for range 50 {
		deep = attribute.MapValue(attribute.KeyValue{Key: "k", Value: deep})
	}
	err := e.ExportSpans(t.Context(), newSource(t).spans(2, attribute.KeyValue{Key: "deep", Value: deep}))
	assert.ErrorContains(t, err, "2 of 2 span(s) lost")
	assert.Equal(t, numbering.Losses{FailedToEmit: 2}, e.Losses())
	assert.Equal(t, 1, lines.Count("nested too deep"))
}

func TestShutdownSaysHowManySpansAreLeftBehind(t *testing.T) {
	e, _ := startExporter(t, Config{Kafka: cluster(tracingtest.FreeAddr(t))}, nil)
	spans := newSource(t)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, e.ExportSpans(gone, spans.spans(123)), "it does not wait, and so needs no time")
	start := time.Now()
	err := e.Shutdown(ending(t, 50*time.Millisecond))
	assert.Less(t, time.Since(start), 5*time.Second)
	var left *LeftBehindError
	require.ErrorAs(t, err, &left)
	assert.Equal(t, 123, left.Spans)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Same(t, err, e.Shutdown(context.Background()), "again: the same, at once")
	assert.ErrorIs(t, e.ExportSpans(t.Context(), spans.spans(1)), errShutDown)
}

func TestSeveralGoroutinesMayExport(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	e, _ := startExporter(t, Config{Kafka: cluster(b.Addr())}, nil)
	spans := newSource(t)
	var exports sync.WaitGroup
	for range 8 {
		some := spans.spans(20)
		exports.Go(func() {
			for i := range some {
				assert.NoError(t, e.ExportSpans(t.Context(), some[i:i+1]))
				assert.Zero(t, e.Losses())
			}
		})
	}
	exports.Wait()
	var shutdowns sync.WaitGroup
	for range 2 {
		shutdowns.Go(func() { assert.NoError(t, e.Shutdown(ending(t, patience))) })
	}
	shutdowns.Wait()
	records := read(t, b, 160)
	assert.ElementsMatch(t, names(0, 160), operations(records))
	for i, n := range seqNos(records) {
		assert.EqualValues(t, i+1, n, "written in the order of the numbers")
	}
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	_, err := New(Config{})
	assert.ErrorContains(t, err, "otelkafka: kafka brokers: none given")
	_, err = New(Config{Kafka: cluster("localhost:9092"), BufferBytes: 1000})
	assert.ErrorContains(t, err, "a buffer of 1000 bytes")
}

func TestAProgramThatUsesOnlyOpenTelemetryLinksNothingOfJaeger(t *testing.T) {
	deps, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		t.Log(string(exit.Stderr))
	}
	require.NoError(t, err)
	require.Contains(t, string(deps), "go.opentelemetry.io/otel/sdk/trace\n")
	unwanted := regexp.MustCompile(`(?m)^(github\.com/uber/|github\.com/apache/thrift|github\.com/opentracing|google\.golang\.org/grpc|fault-tolerant-tracing/tracing/batch|fault-tolerant-tracing/tracing$).*`)
	assert.Empty(t, unwanted.FindAllString(string(deps), -1))
}

func TestShutdownLeavesInTheSpoolWhatKafkaDoesNotTake(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	b.Stop()
	cfg := Config{Kafka: cluster(b.Addr()), SpoolDir: t.TempDir()}
	e, _ := startExporter(t, cfg, nil)
	newSource(t).feed(t, e, 10, payload(3000))
	require.NoError(t, e.Shutdown(ending(t, 0)))

	require.NoError(t, b.Start())
	limitTopic(t, b, "20000") // the next process knows how to split what the first has made
	e, _ = startExporter(t, cfg, nil)
	require.NoError(t, e.Shutdown(ending(t, patience)))
	records := read(t, b, 2)
	assert.Equal(t, names(0, 10), operations(records))
	assert.Equal(t, []int64{1}, slices.Compact(seqNos(records)))
}
