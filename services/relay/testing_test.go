package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/uber/jaeger-client-go/thrift"
	"github.com/uber/jaeger-client-go/thrift-gen/jaeger"

	"fault-tolerant-tracing/services/internal/service"
	"fault-tolerant-tracing/tracing/batch"
	"fault-tolerant-tracing/tracing/tracingtest"
)

const (
	topic    = "tracing-topic"
	dlq      = "tracing-dlq"
	patience = 30 * time.Second
)

func TestMain(m *testing.M) {
	_ = os.Setenv("JAEGER_DISABLED", "true") // else the relay's own traces are among the records that are counted
	tracingtest.VerifyMain(m)
}

// newBatch encodes a batch with one span per operation, as any client of
// jaeger.thrift would.
func newBatch(t testing.TB, operations ...string) []byte {
	t.Helper()
	b := jaeger.Batch{Process: &jaeger.Process{ServiceName: "test"}}
	for _, operation := range operations {
		b.Spans = append(b.Spans, &jaeger.Span{
			TraceIdLow: 1, SpanId: rand.Int64(), OperationName: operation, StartTime: time.Now().UnixMicro(), Duration: 1, Flags: 1,
		})
	}
	buffer := thrift.NewTMemoryBuffer()
	require.NoError(t, b.Write(t.Context(), thrift.NewTBinaryProtocolConf(buffer, nil)))
	return buffer.Bytes()
}

// fakeCollector answers posts as a test tells it to, and keeps what it took.
type fakeCollector struct {
	*httptest.Server

	mu     sync.Mutex
	answer func(w http.ResponseWriter, operations []string) // writes the header
	taken  map[string]int                                   // by operation: how often it was answered with 2xx
	posts  int
}

func startCollector(t *testing.T, answer func(w http.ResponseWriter, operations []string)) *fakeCollector {
	c := &fakeCollector{answer: answer, taken: map[string]int{}}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *fakeCollector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/x-thrift" || r.URL.Path != "/api/traces" {
		http.Error(w, "wrong request", http.StatusTeapot)
		return
	}
	var operations []string
	if b, err := batch.Decode(body); err == nil {
		for _, s := range b.Spans {
			operations = append(operations, s.OperationName)
		}
	}
	c.mu.Lock()
	c.posts++
	answer := c.answer
	c.mu.Unlock()
	written := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
	answer(written, operations)
	c.mu.Lock()
	defer c.mu.Unlock()
	if written.status/100 == 2 {
		for _, operation := range operations {
			c.taken[operation]++
		}
	}
}

type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (s *statusRecorder) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

// become changes the answer.
func (c *fakeCollector) become(answer func(w http.ResponseWriter, operations []string)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = answer
}

func (c *fakeCollector) times(operation string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.taken[operation]
}

func (c *fakeCollector) posted() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.posts
}

func answer(code int) func(http.ResponseWriter, []string) {
	return func(w http.ResponseWriter, _ []string) { w.WriteHeader(code) }
}

// rig is a broker with the relay's topics, a relay, and what the test looks at.
type rig struct {
	t      *testing.T
	broker *tracingtest.Broker
	client *kgo.Client
	addr   string // of the relay's HTTP server
	logs   *tracingtest.Log
	cancel func()       // tells the relay to stop
	stop   func() error // the same, and returns what it returned
}

func startRelay(t *testing.T, endpoint string, settings ...string) *rig {
	t.Helper()
	r := &rig{t: t, broker: tracingtest.StartBroker(t)}
	r.broker.CreateTopics(t, 3, topic)
	r.broker.CreateTopics(t, 1, dlq)
	var err error
	r.client, err = kgo.NewClient(kgo.SeedBrokers(r.broker.Addr()), kgo.ProducerBatchMaxBytes(2<<20))
	require.NoError(t, err)
	t.Cleanup(r.client.Close)
	r.start(endpoint, settings...)
	return r
}

// start runs a relay, another one if there was one before.
func (r *rig) start(endpoint string, settings ...string) {
	r.t.Helper()
	r.addr = tracingtest.FreeAddr(r.t)
	var cfg config
	require.NoError(r.t, service.Load(&cfg, append([]string{
		"KAFKA_BROKERS=" + r.broker.Addr(), "JAEGER_ENDPOINT=" + endpoint, "HTTP_ADDR=" + r.addr,
		"SESSION_TIMEOUT=6s", "GROUP_INSTANCE_ID=relay-1",
	}, settings...)))
	r.logs = &tracingtest.Log{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	log := slog.New(slog.NewTextHandler(io.MultiWriter(r.logs, r.t.Output()), nil))
	go func() { done <- run(ctx, cfg, log) }()
	r.cancel = cancel
	r.stop = sync.OnceValue(func() error { cancel(); return <-done })
	stop := r.stop
	r.t.Cleanup(func() { require.NoError(r.t, stop()) })
}

// produce writes records with these values, without keys, as Java clients do.
func (r *rig) produce(values ...[]byte) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	for _, value := range values {
		require.NoError(r.t, r.client.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: value}).FirstErr())
	}
}

// eventually polls until what holds, with a deadline that only a failing test
// reaches.
func (r *rig) eventually(what string, holds func() bool) {
	r.t.Helper()
	require.Eventually(r.t, holds, patience, 5*time.Millisecond, what)
}

// committed returns how many records the group has finished.
func (r *rig) committed() int64 {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	offsets, err := kadm.NewClient(r.client).FetchOffsets(ctx, group)
	if err != nil {
		r.t.Log(err) // no group yet, or no broker at present
	}
	var total int64
	offsets.Each(func(o kadm.OffsetResponse) { total += max(0, o.At) })
	return total
}

// setAside reads tracing-dlq.
func (r *rig) setAside() []*kgo.Record {
	r.t.Helper()
	return tracingtest.ReadTopic(r.t, r.broker.Addr(), dlq, 0)
}

func operations(prefix string, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%d", prefix, i)
	}
	return names
}
