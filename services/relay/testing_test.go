package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/uber/jaeger-client-go/thrift"
	"github.com/uber/jaeger-client-go/thrift-gen/jaeger"

	"fault-tolerant-tracing/services/internal/service"
	"fault-tolerant-tracing/tracing/tracingtest"
)

const (
	topic    = "tracing-topic"
	dlq      = "tracing-dlq"
	patience = 30 * time.Second
)

func TestMain(m *testing.M) {
	_ = os.Setenv("JAEGER_DISABLED", "true") // else the relay's own traces are among the records that are counted
	_ = os.Setenv("GOMEMLIMIT", "off")       // the relay's own limit is for one, and here many run in one process
	tracingtest.AsProgram(main)
	tracingtest.VerifyMain(m)
}

// newBatch encodes a batch with one span per operation.
func newBatch(t testing.TB, operations ...string) []byte {
	t.Helper()
	var spans []*jaeger.Span
	for _, operation := range operations {
		spans = append(spans, newSpan(operation))
	}
	return encode(t, "test", spans...)
}

func newSpan(operation string, tags ...*jaeger.Tag) *jaeger.Span {
	return &jaeger.Span{
		TraceIdLow: 1, SpanId: rand.Int64(), OperationName: operation, StartTime: time.Now().UnixMicro(), Duration: 1, Flags: 1, Tags: tags,
	}
}

// encode encodes a batch as any client of jaeger.thrift would.
func encode(t testing.TB, service string, spans ...*jaeger.Span) []byte {
	t.Helper()
	b := jaeger.Batch{Process: &jaeger.Process{ServiceName: service}, Spans: spans}
	buffer := thrift.NewTMemoryBuffer()
	require.NoError(t, b.Write(t.Context(), thrift.NewTBinaryProtocolConf(buffer, nil)))
	return buffer.Bytes()
}

// rig is a broker with the relay's topics, a relay, and what the test looks at.
type rig struct {
	t      *testing.T
	broker *tracingtest.Broker
	client *kgo.Client
	writer *kgo.Client // writes each record to the partition it names
	addr   string      // of the relay's HTTP server
	logs   *tracingtest.Log
	cancel func()       // tells the relay to stop
	stop   func() error // the same, and returns what it returned
}

func startRelay(t *testing.T, endpoint string, settings ...string) *rig {
	t.Helper()
	r := newRig(t)
	r.broker.CreateTopics(t, 1, dlq)
	r.start(endpoint, settings...)
	return r
}

// newRig starts a broker without tracing-dlq, and no relay.
func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, broker: tracingtest.StartBroker(t)}
	r.broker.CreateTopics(t, 3, topic)
	var err error
	r.client, err = kgo.NewClient(kgo.SeedBrokers(r.broker.Addr()), kgo.ProducerBatchMaxBytes(2<<20))
	require.NoError(t, err)
	t.Cleanup(r.client.Close)
	r.writer, err = kgo.NewClient(kgo.SeedBrokers(r.broker.Addr()), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(16<<20))
	require.NoError(t, err)
	t.Cleanup(r.writer.Close)
	return r
}

// listening is what a relay logs when it serves HTTP.
var listening = regexp.MustCompile(`msg=listening addr=(\S+)`)

// start runs a relay, another one if there was one before. Of several settings of one
// name the last one counts.
func (r *rig) start(endpoint string, settings ...string) {
	r.t.Helper()
	var cfg config
	require.NoError(r.t, service.Load(&cfg, append([]string{
		"KAFKA_BROKERS=" + tracingtest.FreeAddr(r.t), // the cluster with the data is not asked for anything
		"TRACING_KAFKA_BROKERS=" + r.broker.Addr(), setting(endpoint) + "=" + endpoint, "HTTP_ADDR=127.0.0.1:0",
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
	r.eventually("it listens", func() bool {
		found := listening.FindStringSubmatch(r.logs.String())
		if found != nil {
			r.addr = found[1]
		}
		return found != nil
	})
}

// setting names the variable that takes an endpoint.
func setting(endpoint string) string {
	if strings.HasSuffix(endpoint, "/api/traces") {
		return "JAEGER_ENDPOINT"
	}
	return "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
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
