// Command stream sorts numbers: even ones to one topic, odd ones to another.
//
// It reads number-topic and writes to even-topic and odd-topic, as a goka
// processor in the group stream-app. A record that is not an integer goes to
// number-dlq, whole, with the reason; only what is too large even for that topic
// is cut. The offset of a record is committed only when its result, and that of
// every record before it, is acknowledged; after a crash at most the records in
// flight are sorted again. While Kafka is away it waits. A number-topic that was
// made anew is read from its beginning, whatever was committed of the old one.
package main

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"fault-tolerant-tracing/services/internal/deadletter"
	"fault-tolerant-tracing/services/internal/service"
	"fault-tolerant-tracing/tracing"
	"fault-tolerant-tracing/tracing/kafkaclient"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

const doc = `stream sorts numbers: it reads number-topic and writes even ones to even-topic,
odd ones to odd-topic.

A number is an integer of any length in decimal digits, with or without a sign;
white space around it and leading zeros are left out. Everything else, null
included, goes to number-dlq with the reason and the place it came from in the
headers dlq.*.`

func main() { os.Exit(service.Main("stream", doc, run)) }

func run(ctx context.Context, cfg config, log *slog.Logger) (err error) {
	service.CollectSeldom()
	var teardown service.Teardown
	defer func() { err = errors.Join(err, teardown.Run(cfg.Common.ShutdownTimeout/2)) }()
	sarama.Logger = logger{log} // sarama has no other way to be told

	tracer, closeTracer, err := tracing.New(cfg.Tracing.Config("stream", log))
	if err != nil {
		return err
	}
	teardown.Add("tracer", closeTracer)

	ops, err := service.Listen(cfg.HTTPAddr, log, nil)
	if err != nil {
		return err
	}
	teardown.Add("http server", ops.Close)
	ops.Metrics().MustRegister(service.TracerMetrics(tracer))

	cluster := cfg.Kafka.Cluster()
	cluster.ClientID = group
	producer, err := deadletter.NewProducer(cluster, log)
	if err != nil {
		return err
	}
	teardown.Add("dead-letter producer", producer.Close)

	s, err := newStream(cfg, cluster, tracer, producer, ops.Metrics(), log)
	if err != nil {
		return err
	}
	ops.Ready(s.ready)
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error { return ops.Wait(ctx) })
	work.Go(func() error { return s.run(ctx) })
	return work.Wait()
}

func newStream(cfg config, cluster kafkaclient.Cluster, tracer *tracing.Tracer, producer *kafkaclient.Producer, metrics prometheus.Registerer, log *slog.Logger) (*stream, error) {
	if _, err := saramaConfig(cluster, cfg.Group); err != nil { // rather now than in each processor
		return nil, err
	}
	sorted := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "stream_records_total",
		Help: "Records sorted, by result: even, odd or set_aside.",
	}, []string{"result"})
	aside := &deadLetters{queue: deadletter.New(producer, cfg.DeadLetterTopic), room: semaphore.NewWeighted(maxAside), log: log}
	sort := &sorter{even: goka.Stream(cfg.EvenTopic), odd: goka.Stream(cfg.OddTopic), sorted: sorted, aside: aside}
	s := &stream{cfg: cfg, graph: graph(cfg, tracer, sort), aside: aside, cluster: cluster, tracer: tracer, log: log}
	metrics.MustRegister(sorted,
		gauge("consumer_dead_letters_waiting", "Records that are to be set aside.", func() float64 { return float64(aside.waits()) }),
		gauge("consumer_dead_letters_failing", "1 while nothing can be set aside, else 0.", func() float64 { return oneIf(aside.failing()) }),
		gauge("consumer_lasting_errors", "1 while the processor is not a member of its group, else 0.", func() float64 { return oneIf(s.ready() != nil) }))
	return s, nil
}

func gauge(name, help string, value func() float64) prometheus.GaugeFunc {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
