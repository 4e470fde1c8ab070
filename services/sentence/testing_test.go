package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"fault-tolerant-tracing/services/internal/service"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"
)

const (
	patience        = 30 * time.Second
	shutdownTimeout = 6 * time.Second
)

// A consumer that is closed while Kafka is away may not end: librdkafka waits for what does not come, and the service does not
// wait for librdkafka. Then these three stay.
func TestMain(m *testing.M) {
	const kafka = "github.com/confluentinc/confluent-kafka-go/v2/kafka."
	tracingtest.VerifyMain(m,
		goleak.IgnoreAnyFunction(kafka+"(*Consumer).Close"),
		goleak.IgnoreAnyFunction(kafka+"(*handle).pollLogEvents"),
		goleak.IgnoreAnyFunction("fault-tolerant-tracing/tracing/kafkaclient.ForwardLogs"))
}

// fakeRandom stands for the service random and answers as a test tells it to.
type fakeRandom struct {
	*httptest.Server
	mu     sync.Mutex
	answer http.HandlerFunc
	asked  int
}

// startRandom starts one that always draws 1.
func startRandom(t *testing.T) *fakeRandom {
	r := &fakeRandom{answer: says(`{"number":1}`)}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func says(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }
}

func (r *fakeRandom) become(answer http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

func (r *fakeRandom) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.URL.Path == "/elsewhere" { // where nobody should go
		says(`{"number":2}`)(w, req)
		return
	}
	if req.Method != http.MethodPost || req.URL.Path != "/random" {
		http.Error(w, "wrong request", http.StatusTeapot)
		return
	}
	r.mu.Lock()
	r.asked++
	answer := r.answer
	r.mu.Unlock()
	answer(w, req)
}

// awaitAsked blocks until it was asked n more times than when awaitAsked was
// called.
func (r *fakeRandom) awaitAsked(t *testing.T, n int) {
	t.Helper()
	asked := func() int {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.asked
	}
	begin := asked()
	require.Eventually(t, func() bool { return asked() >= begin+n }, patience, 5*time.Millisecond)
}

// newBroker has the topics that sentence needs.
func newBroker(t *testing.T) *tracingtest.Broker {
	t.Helper()
	broker := tracingtest.StartBroker(t)
	broker.CreateTopics(t, 3, "even-topic", "sentence-topic", "tracing-topic")
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()))
	require.NoError(t, err)
	defer client.Close()
	twoMiB := "2097152"
	_, err = kadm.NewClient(client).CreateTopic(context.Background(), 1, 1, map[string]*string{"max.message.bytes": &twoMiB}, "even-dlq")
	require.NoError(t, err)
	return broker
}

// start runs the program until stop is called, which returns what run does. Of
// several settings of one name the last one counts.
func start(t *testing.T, broker *tracingtest.Broker, random string, settings ...string) (stop func() error) {
	t.Helper()
	var cfg config
	require.NoError(t, service.Load(&cfg, append([]string{
		"KAFKA_BROKERS=" + broker.Addr(), "RANDOM_URL=" + random, "HTTP_ADDR=127.0.0.1:0", "SESSION_TIMEOUT=6s", "SHUTDOWN_TIMEOUT=" + shutdownTimeout.String(),
	}, settings...)))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx, cfg, slog.New(slog.DiscardHandler)) }()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = stop() })
	return stop
}

// produce writes records, each to the partition it names.
func produce(t *testing.T, broker *tracingtest.Broker, records ...*kgo.Record) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()), kgo.DefaultProduceTopic("even-topic"),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MetadataMinAge(100*time.Millisecond),
		kgo.ProducerBatchMaxBytes(16<<20), kgo.ProducerBatchCompression(kgo.ZstdCompression()))
	require.NoError(t, err)
	defer client.Close()
	require.NoError(t, client.ProduceSync(context.Background(), records...).FirstErr())
}

// numbers makes a record of each even number from the first to the last, spread
// over the partitions.
func numbers(first, last int) []*kgo.Record {
	var records []*kgo.Record
	for n := first; n <= last; n += 2 {
		records = append(records, number(n))
	}
	return records
}

func number(n int) *kgo.Record {
	text := fmt.Append(nil, n)
	return &kgo.Record{Key: text, Value: text, Partition: partition(n)}
}

func partition(n int) int32 { return int32(n / 2 % 3) }
