// Package bench measures what it costs a service to send its spans: the CPU time
// of the sending process per span that arrived, by transport, side by side.
//
//	go test ./tracing/bench -run '^$' -bench Transport -benchtime 1x
package bench

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"fault-tolerant-tracing/tracing"
	"fault-tolerant-tracing/tracing/batch"
	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/opentracing/opentracing-go"
	"github.com/opentracing/opentracing-go/ext"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/uber/jaeger-client-go"
	"github.com/uber/jaeger-client-go/transport"
)

const (
	rounds  = 7
	warmUp  = 2_000
	spans   = 50_000 // per round and transport
	burst   = 20     // spans at a time
	pause   = time.Millisecond
	patient = 10 * time.Second
)

// sender is one transport under test.
type sender struct {
	name string
	// open returns what the reporter sends through, and its close, which waits for what is sent to be acknowledged.
	open func(testing.TB) (tr jaeger.Transport, metrics *jaeger.Metrics, closeTransport func() error)
	// arrived returns the number of spans received since open.
	arrived func(testing.TB) int
}

// BenchmarkTransport runs all transports in turn, several times, whatever b.N is.
func BenchmarkTransport(b *testing.B) {
	senders := []sender{none(), overHTTP(b), overUDP(b), overKafka(b, "kafka", ""), overKafka(b, "spool", b.TempDir())}
	b.Logf("a span takes %d bytes on the wire", spanBytes(b))
	micros := map[string][]float64{}
	for range rounds {
		for _, s := range senders {
			micros[s.name] = append(micros[s.name], measure(b, s))
		}
	}
	median := map[string]float64{}
	for _, s := range senders {
		sorted := slices.Sorted(slices.Values(micros[s.name]))
		median[s.name] = sorted[len(sorted)/2]
		b.ReportMetric(median[s.name], s.name+"-µs/span")
		fmt.Printf("%-6s %6.2f µs CPU per span (%.2f … %.2f)\n", s.name, median[s.name], sorted[0], sorted[len(sorted)-1])
	}
	b.ReportMetric(median["kafka"]/median["http"], "kafka/http")
	b.ReportMetric(median["udp"]/median["http"], "udp/http")
	b.ReportMetric(median["spool"]/median["kafka"], "spool/kafka")
	fmt.Printf("kafka/http %.2f, udp/http %.2f, kafka with a spool/kafka %.2f; without making the spans (none): kafka/http %.2f\n",
		median["kafka"]/median["http"], median["udp"]/median["http"], median["spool"]/median["kafka"],
		(median["kafka"]-median["none"])/(median["http"]-median["none"]))
}

// measure returns the CPU time, user and system, of this process per span.
func measure(b *testing.B, s sender) (micros float64) {
	b.Helper()
	tr, metrics, closeTransport := s.open(b)
	dropped := &counter{}
	metrics.ReporterDropped = dropped
	reporter := jaeger.NewRemoteReporter(tr, jaeger.ReporterOptions.QueueSize(10_000), jaeger.ReporterOptions.Metrics(metrics))
	tracer, closer := jaeger.NewTracer("stream-app", jaeger.NewConstSampler(true), reporter)
	runtime.GC()
	generate(tracer, warmUp)
	start := cpu(b)
	generate(tracer, spans)
	require.NoError(b, closer.Close())
	require.NoError(b, closeTransport())
	used := cpu(b) - start
	require.Zero(b, dropped.n, "spans dropped by the reporter")
	require.Eventually(b, func() bool { return s.arrived(b) == spans+warmUp }, patient, 20*time.Millisecond, "not all spans arrived over %s", s.name)
	return float64(used.Microseconds()) / spans
}

type counter struct{ n int64 } // of one goroutine: the one that generates

func (c *counter) Inc(n int64) { c.n += n }

// generate makes n spans at an even pace, slow enough for a receiver of UDP.
func generate(tracer opentracing.Tracer, n int) {
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for i := range n {
		if i%burst == 0 {
			<-ticker.C
		}
		makeSpan(tracer, i).Finish()
	}
}

func makeSpan(tracer opentracing.Tracer, i int) opentracing.Span {
	span := tracer.StartSpan("From_number-topic")
	ext.SpanKindConsumer.Set(span)
	ext.Component.Set(span, "confluent-kafka-go")
	ext.MessageBusDestination.Set(span, "number-topic")
	span.SetTag("partition", i%3)
	span.SetTag("offset", i)
	return span
}

func spanBytes(b *testing.B) int {
	tracer, _ := tracingtest.NewTracer(b, "s")
	span := makeSpan(tracer, 0)
	span.Finish()
	encoded, err := batch.AppendSpan(nil, jaeger.BuildJaegerThrift(span.(*jaeger.Span)))
	require.NoError(b, err)
	require.GreaterOrEqual(b, len(encoded), 200)
	return len(encoded)
}

func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// none makes spans and sends them nowhere: what every sender pays.
func none() sender {
	return sender{
		name: "none",
		open: func(testing.TB) (jaeger.Transport, *jaeger.Metrics, func() error) {
			return nowhere{}, jaeger.NewNullMetrics(), nowhere{}.Close
		},
		arrived: func(testing.TB) int { return spans + warmUp },
	}
}

type nowhere struct{}

func (nowhere) Append(*jaeger.Span) (int, error) { return 0, nil }
func (nowhere) Flush() (int, error)              { return 0, nil }
func (nowhere) Close() error                     { return nil }

func overHTTP(b *testing.B) sender {
	r := startReceiver(b, "http")
	before := 0
	return sender{
		name: "http",
		open: func(t testing.TB) (jaeger.Transport, *jaeger.Metrics, func() error) {
			before = r.spans(t)
			tr := transport.NewHTTPTransport(r.addr, transport.HTTPBatchSize(100))
			return tr, jaeger.NewNullMetrics(), tr.Close
		},
		arrived: func(t testing.TB) int { return r.spans(t) - before },
	}
}

func overUDP(b *testing.B) sender {
	r := startReceiver(b, "udp")
	before := 0
	return sender{
		name: "udp",
		open: func(t testing.TB) (jaeger.Transport, *jaeger.Metrics, func() error) {
			before = r.spans(t)
			tr, err := jaeger.NewUDPTransport(r.addr, 0)
			require.NoError(t, err)
			return tr, jaeger.NewNullMetrics(), func() error { return nil } // the reporter closes it
		},
		arrived: func(t testing.TB) int { return r.spans(t) - before },
	}
}

func overKafka(b *testing.B, name, spoolDir string) sender {
	r := startReceiver(b, "kafka")
	topic := ""
	return sender{
		name: name,
		open: func(t testing.TB) (jaeger.Transport, *jaeger.Metrics, func() error) {
			topic = newTopic(t, r.addr)
			tr, err := tracing.NewTransport(tracing.TransportConfig{
				Kafka: kafkaclient.Cluster{Brokers: []string{r.addr}}, Topic: topic, SpoolDir: spoolDir, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
			})
			require.NoError(t, err)
			return tr, tr.Metrics(), tr.Close
		},
		arrived: func(t testing.TB) int { return spansOn(t, r.addr, topic) },
	}
}

func newTopic(t testing.TB, brokers string) string {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers))
	require.NoError(t, err)
	defer client.Close()
	name := fmt.Sprintf("tracing-topic-%d", time.Now().UnixNano())
	_, err = kadm.NewClient(client).CreateTopic(context.Background(), 6, 1, nil, name)
	require.NoError(t, err)
	return name
}

func spansOn(t testing.TB, brokers, topic string) (n int) {
	t.Helper()
	for _, record := range tracingtest.ReadTopic(t, brokers, topic, 0) {
		frame, err := batch.Parse(record.Value)
		require.NoError(t, err)
		n += frame.Spans()
	}
	return n
}
