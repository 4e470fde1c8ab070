package tracing

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"fault-tolerant-tracing/tracing/batch"
	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/propagation"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/opentracing/opentracing-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/uber/jaeger-client-go"
	"github.com/uber/jaeger-client-go/config"
	thrift "github.com/uber/jaeger-client-go/thrift-gen/jaeger"
)

func finish(tracer opentracing.Tracer, operations ...string) {
	for _, o := range operations {
		tracer.StartSpan(o).Finish()
	}
}

func TestNewSendsSpansToTheTopic(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	lines := new(tracingtest.Log)
	tracer, closeTracer, err := New(Config{
		Service: "stream-app", Kafka: cluster(b.Addr()), Logger: lines.Logger(), LogSpans: true,
		Tags: []opentracing.Tag{{Key: "zone", Value: "a"}}, Gen128Bit: true,
	})
	require.NoError(t, err)
	finish(tracer, "one", "two")
	require.NoError(t, closeTracer(ending(t, patience)))
	require.NoError(t, closeTracer(ending(t, patience)), "closing again is harmless")

	batches := readBatches(t, b, 1)
	assert.Equal(t, []string{"one", "two"}, operations(batches))
	assert.Equal(t, "stream-app", batches[0].Process.ServiceName)
	assert.True(t, slices.ContainsFunc(batches[0].Process.Tags, func(tag *thrift.Tag) bool { return tag.Key == "zone" && tag.GetVStr() == "a" }))
	assert.NotZero(t, batches[0].Spans[0].TraceIdHigh)
	assert.Equal(t, 2, lines.Count(`level=DEBUG msg="Reporting span`))
	assert.False(t, opentracing.IsGlobalTracerRegistered())
}

func TestBaggageThatCannotTravelIsDroppedAndNamed(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	lines := new(tracingtest.Log)
	tracer, closeTracer, err := New(Config{Service: "s", Kafka: cluster(b.Addr()), Logger: lines.Logger()})
	require.NoError(t, err)
	span, headers := tracer.StartSpan("one"), opentracing.TextMapCarrier{}
	span.SetBaggageItem("user id", "x").SetBaggageItem("k", "v")
	require.NoError(t, tracer.Inject(span.Context(), opentracing.HTTPHeaders, headers))
	span.Finish()
	sc, err := tracer.Extract(opentracing.HTTPHeaders, opentracing.TextMapCarrier{"uberctx-a:b": "x"})
	require.NoError(t, err)
	tracer.StartSpan("two", opentracing.ChildOf(sc)).Finish()
	require.NoError(t, closeTracer(ending(t, patience)))

	assert.Len(t, headers, 3)
	assert.Equal(t, "v", headers["uberctx-k"])
	spans := tracingtest.SpansOnTopic(t, b.Addr(), DefaultTopic, 2)
	assert.Equal(t, `"user id"`, tracingtest.Named(t, spans, "one").Tags["baggage.dropped"])
	assert.Equal(t, `"a:b"`, tracingtest.Named(t, spans, "two").Tags["baggage.dropped"])
	assert.Equal(t, propagation.Dropped{InvalidName: 2}, tracer.BaggageDropped())
	assert.Equal(t, 1, lines.Count(`msg="baggage is dropped"`))
}

func TestSpansLeaveAfterTheFlushInterval(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	tracer, closeTracer, err := New(Config{Service: "s", Kafka: cluster(b.Addr()), FlushInterval: 10 * time.Millisecond, Logger: new(tracingtest.Log).Logger()})
	require.NoError(t, err)
	finish(tracer, "one")
	assert.Equal(t, []string{"one"}, operations(readBatches(t, b, 1)))
	require.NoError(t, closeTracer(ending(t, patience)))
}

func TestFlushReturnsWhenKafkaHasAllSpans(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	tracer, closeTracer, err := New(Config{Service: "s", Kafka: cluster(b.Addr()), FlushInterval: time.Hour, Logger: new(tracingtest.Log).Logger()})
	require.NoError(t, err)
	require.NoError(t, tracer.Flush(ending(t, patience)), "there is none")
	for range 250 { // more than two batches
		finish(tracer, "one")
	}
	require.NoError(t, tracer.Flush(ending(t, patience)))
	assert.Len(t, tracingtest.SpansOnTopic(t, b.Addr(), DefaultTopic, 0), 250)

	b.Stop()
	finish(tracer, "two")
	require.ErrorIs(t, tracer.Flush(ending(t, 200*time.Millisecond)), context.DeadlineExceeded)
	require.NoError(t, b.Start())
	require.NoError(t, tracer.Flush(ending(t, patience)))
	assert.Len(t, tracingtest.SpansOnTopic(t, b.Addr(), DefaultTopic, 0), 251)
	require.NoError(t, closeTracer(ending(t, patience)))
}

func TestTracingMayHaveAClusterOfItsOwn(t *testing.T) {
	t.Parallel()
	business, own := tracingtest.StartBroker(t), startBroker(t)
	business.CreateTopics(t, 1, "number-topic")
	lines := new(tracingtest.Log)
	tracer, closeTracer, err := New(Config{Service: "s", Kafka: cluster(own.Addr()), Logger: lines.Logger()})
	require.NoError(t, err)
	producer, err := kafkaclient.NewProducer(cluster(business.Addr()), lines.Logger(), nil)
	require.NoError(t, err)

	span := tracer.StartSpan("To_number-topic")
	topic := "number-topic"
	_, err = producer.Send(ending(t, patience), &kafka.Message{
		TopicPartition: kafka.TopicPartition{Topic: &topic, Partition: kafka.PartitionAny}, Value: []byte("7")})
	require.NoError(t, err)
	span.Finish()
	business.Stop() // its end does not touch the spans
	require.NoError(t, closeTracer(ending(t, patience)))
	require.NoError(t, producer.Close(ending(t, patience)))

	require.NoError(t, business.Start())
	assert.Equal(t, []string{"To_number-topic"}, operations(readBatches(t, own, 1)))
	assert.Len(t, tracingtest.ReadTopic(t, business.Addr(), "number-topic", 1), 1)
}

func TestSpansTheReporterDropsAreReportedOnTheTopic(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	tr, lines := startTransport(t, TransportConfig{Kafka: cluster(b.Addr())}, nil)
	cfg := Config{Service: "s", QueueSize: 1, Logger: lines.Logger()}
	cfg.setDefaults()
	tracer, closer, err := cfg.tracer(tr, propagation.New(cfg.Logger), new(atomic.Uint64))
	require.NoError(t, err)
	finish(tracer, "first")
	tr.mu.Lock() // the reporter's goroutine stands still
	for range 100 {
		finish(tracer, "more")
	}
	dropped := tr.Stats().FullQueueDropped
	tr.mu.Unlock()
	require.GreaterOrEqual(t, dropped, int64(90)) // all but those in the queue and in the reporter's hand
	require.NoError(t, tr.shutdownAfter(ending(t, patience), closer))

	batches := readBatches(t, b, 1)
	assert.Equal(t, batch.Stats{FullQueueDropped: dropped}, statsOf(batches[len(batches)-1]))
	assert.Equal(t, 1, lines.Count(`msg="losing spans" reason="the reporter's queue is full"`))
}

func TestClosingATracerIsBounded(t *testing.T) {
	tracer, closeTracer, err := New(Config{Service: "s", Kafka: cluster(tracingtest.FreeAddr(t)), Logger: new(tracingtest.Log).Logger()})
	require.NoError(t, err)
	finish(tracer, "one", "two", "three")
	start := time.Now()
	var left *LeftBehindError
	require.ErrorAs(t, closeTracer(ending(t, 50*time.Millisecond)), &left)
	assert.Equal(t, 3, left.Spans)
	assert.Less(t, time.Since(start), closeTimeout)
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	good := Config{Service: "s", Kafka: cluster("localhost:9092"), Logger: new(tracingtest.Log).Logger()}
	tests := []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no service", func(c *Config) { c.Service = "" }, "no service name"},
		{"no brokers", func(c *Config) { c.Kafka.Brokers = nil }, "brokers"},
		{"unknown transport", func(c *Config) { c.Transport = "udp" }, `transport "udp"`},
		{"unknown sampler", func(c *Config) { c.Sampler = config.SamplerConfig{Type: "always"} }, "always"},
		{"direct without endpoint", func(c *Config) { c.Transport = Direct }, "endpoint"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := good
			tt.change(&cfg)
			_, _, err := New(cfg)
			assert.ErrorContains(t, err, tt.want)
		})
	}
}

func TestDisabledTracerNeedsNothing(t *testing.T) {
	tracer, closeTracer, err := New(Config{Disabled: true})
	require.NoError(t, err)
	finish(tracer, "one")
	assert.NoError(t, closeTracer(t.Context()))
}

func TestSamplerIsHonoured(t *testing.T) {
	t.Parallel()
	tracer, closeTracer, err := New(Config{
		Service: "s", Kafka: cluster(tracingtest.FreeAddr(t)), Logger: new(tracingtest.Log).Logger(),
		Sampler: config.SamplerConfig{Type: jaeger.SamplerTypeConst, Param: 0},
	})
	require.NoError(t, err)
	finish(tracer, "one")
	assert.NoError(t, closeTracer(ending(t, patience)), "nothing to send")
}

func TestKindIsText(t *testing.T) {
	var k Kind
	require.NoError(t, k.UnmarshalText([]byte("direct")))
	assert.Equal(t, Direct, k)
	assert.ErrorContains(t, k.UnmarshalText([]byte("udp")), `transport "udp": want kafka or direct`)
	text, err := Kafka.MarshalText()
	require.NoError(t, err)
	assert.Equal(t, "kafka", string(text))
}

// collector answers each post with a status.
func collector(t *testing.T, answer http.HandlerFunc) string {
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	return s.URL + "/api/traces"
}

func TestDirectPostsBatchesToTheCollector(t *testing.T) {
	var posts, spans atomic.Int64
	url := collector(t, func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		value, _ := io.ReadAll(r.Body)
		frame, err := batch.Parse(value)
		if err != nil || user != "u" || password != "p" || r.Header.Get("Content-Type") != "application/x-thrift" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		posts.Add(1)
		spans.Add(int64(frame.Spans()))
		w.WriteHeader(http.StatusAccepted)
	})
	tracer, closeTracer, err := New(Config{Service: "s", Transport: Direct, Endpoint: url, User: "u", Password: "p"})
	require.NoError(t, err)
	for range 150 {
		finish(tracer, "one")
	}
	require.NoError(t, closeTracer(ending(t, patience)))
	assert.EqualValues(t, 150, spans.Load())
	assert.EqualValues(t, 2, posts.Load())
}

func TestDirectLosesWhatTheCollectorRefusesAndLogsIt(t *testing.T) {
	lines := new(tracingtest.Log)
	url := collector(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	tracer, closeTracer, err := New(Config{Service: "s", Transport: Direct, Endpoint: url, Logger: lines.Logger()})
	require.NoError(t, err)
	finish(tracer, "one", "two")
	require.NoError(t, closeTracer(ending(t, patience)))
	assert.Equal(t, 1, lines.Count("error from collector: 503"))
	assert.Equal(t, 1, lines.Count("failed_to_emit=2"))
}

func TestDirectDoesNotFollowRedirects(t *testing.T) {
	lines := new(tracingtest.Log)
	elsewhere := collector(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) })
	url := collector(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere, http.StatusMovedPermanently)
	})
	tracer, closeTracer, err := New(Config{Service: "s", Transport: Direct, Endpoint: url, Logger: lines.Logger()})
	require.NoError(t, err)
	finish(tracer, "one", "two")
	require.NoError(t, closeTracer(ending(t, patience)))
	assert.Equal(t, 1, lines.Count("301 Moved Permanently, redirects are not followed"))
	assert.Equal(t, 1, lines.Count("failed_to_emit=2"))
}

// Programs wrap http.DefaultTransport, and it takes its proxy from the environment.
func TestDirectHasATransportOfItsOwn(t *testing.T) {
	before := http.DefaultTransport
	t.Cleanup(func() { http.DefaultTransport = before })
	http.DefaultTransport = http.NewFileTransport(http.Dir(t.TempDir()))
	d, err := newDirect("http://127.0.0.1:1/api/traces", "", "", new(tracingtest.Log).Logger())
	require.NoError(t, err)
	assert.Nil(t, d.client.Proxy)
	assert.NoError(t, d.Close())
}

func TestADirectTracerWithNothingToSendLeavesNothingBehind(t *testing.T) {
	url := collector(t, func(http.ResponseWriter, *http.Request) {})
	_, closeTracer, err := New(Config{Service: "s", Transport: Direct, Endpoint: url, Logger: new(tracingtest.Log).Logger()})
	require.NoError(t, err)
	assert.NoError(t, closeTracer(ending(t, 0)))
}

func TestClosingADirectTracerIsBounded(t *testing.T) {
	released := make(chan struct{})
	url := collector(t, func(http.ResponseWriter, *http.Request) { <-released })
	t.Cleanup(func() { close(released) })
	tracer, closeTracer, err := New(Config{Service: "s", Transport: Direct, Endpoint: url, Logger: new(tracingtest.Log).Logger()})
	require.NoError(t, err)
	for range 150 {
		finish(tracer, "one")
	}
	start := time.Now()
	var left *LeftBehindError
	require.ErrorAs(t, closeTracer(ending(t, 50*time.Millisecond)), &left)
	assert.Equal(t, 150, left.Spans)
	assert.Less(t, time.Since(start), closeTimeout)
}
