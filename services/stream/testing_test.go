package main

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"fault-tolerant-tracing/services/internal/deadletter"
	"fault-tolerant-tracing/services/internal/service"
	"fault-tolerant-tracing/tracing"
	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/opentracing/opentracing-go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"
)

const patience = 40 * time.Second

func TestMain(m *testing.M) {
	tracingtest.AsProgram(main)
	tracingtest.VerifyMain(m, goleak.IgnoreTopFunction("github.com/IBM/sarama.(*Broker).responseReceiver")) // of a connection that it opens while its client is closed
}

func testConfig(brokers string) config {
	return config{
		Common:      service.Common{ShutdownTimeout: 8 * time.Second},
		Group:       service.Group{SessionTimeout: 6 * time.Second},
		Kafka:       service.Kafka{Brokers: []string{brokers}},
		NumberTopic: "number-topic", EvenTopic: "even-topic", OddTopic: "odd-topic", DeadLetterTopic: "number-dlq",
	}
}

func startBroker(t *testing.T, partitions int) *tracingtest.Broker {
	t.Helper()
	b := tracingtest.StartBroker(t)
	b.CreateTopics(t, partitions, append(testConfig("").topics(), "number-dlq")...)
	return b
}

// running is a stream that runs until it is stopped or the test ends.
type running struct {
	*stream
	log     *tracingtest.Log
	metrics *prometheus.Registry
	stop    func() error // what run returned
}

func startStream(t *testing.T, tracer opentracing.Tracer, cfg config) running {
	t.Helper()
	return startStreamOn(t, tracer, cfg, cfg.Kafka.Cluster())
}

func startStreamOn(t *testing.T, tracer opentracing.Tracer, cfg config, cluster kafkaclient.Cluster) running {
	t.Helper()
	out := new(tracingtest.Log)
	log := slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelInfo}))
	producer, err := deadletter.NewProducer(cluster, log)
	require.NoError(t, err)
	metrics := prometheus.NewRegistry()
	s, err := newStream(cfg, cluster, &tracing.Tracer{Tracer: tracer}, producer, metrics, log)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.run(ctx) }()
	stop := sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() {
		_ = stop()
		late, end := context.WithCancel(context.Background())
		end()
		_ = producer.Close(late)
		if t.Failed() {
			t.Log(out.String())
		}
	})
	return running{s, out, metrics, stop}
}

// alerts are the metrics that alerts look at: what waits to be set aside, whether that fails, and whether
// Kafka gives nothing.
func (r running) alerts(t *testing.T) [3]float64 {
	t.Helper()
	families, err := r.metrics.Gather()
	require.NoError(t, err)
	values := map[string]float64{}
	for _, f := range families {
		values[f.GetName()] = f.GetMetric()[0].GetGauge().GetValue()
	}
	var alerts [3]float64
	for i, name := range []string{"consumer_dead_letters_waiting", "consumer_dead_letters_failing", "consumer_lasting_errors"} {
		require.Contains(t, values, name)
		alerts[i] = values[name]
	}
	return alerts
}

func (r running) waitReady(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return r.ready() == nil }, patience, 10*time.Millisecond)
}

// feed puts values on number-topic, as Kafka Connect does: without keys. nil is
// a null value.
func feed(t *testing.T, b *tracingtest.Broker, values ...[]byte) {
	t.Helper()
	var records []*kgo.Record
	for _, v := range values {
		records = append(records, &kgo.Record{Value: v})
	}
	feedRecords(t, b, records...)
}

func feedRecords(t *testing.T, b *tracingtest.Broker, records ...*kgo.Record) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()), kgo.DefaultProduceTopic("number-topic"),
		kgo.RecordPartitioner(kgo.RoundRobinPartitioner()), kgo.ProducerLinger(0),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerBatchMaxBytes(4<<20))
	require.NoError(t, err)
	defer client.Close()
	require.NoError(t, client.ProduceSync(context.Background(), records...).FirstErr())
}

// limitTopic sets the size of the largest batch that a topic takes.
func limitTopic(t *testing.T, b *tracingtest.Broker, topic string, maxBytes int) {
	t.Helper()
	limit := strconv.Itoa(maxBytes)
	answers, err := b.Admin(t).AlterTopicConfigs(t.Context(),
		[]kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: &limit}}, topic)
	require.NoError(t, err)
	_, err = answers.On(topic, nil)
	require.NoError(t, err)
}

func texts(values ...string) [][]byte {
	var list [][]byte
	for _, v := range values {
		list = append(list, []byte(v))
	}
	return list
}
