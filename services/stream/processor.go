package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"fault-tolerant-tracing/services/internal/kafkaadmin"
	"fault-tolerant-tracing/tracing"
	"fault-tolerant-tracing/tracing/gokatrace"
	"fault-tolerant-tracing/tracing/kafkaclient"

	"github.com/IBM/sarama"
	"github.com/cenkalti/backoff/v5"
	"github.com/lovoo/goka"
	"github.com/rcrowley/go-metrics"
)

// Waits between a processor that failed and the next one, and between two tries to set a record aside.
const (
	firstWait = 250 * time.Millisecond
	maxWait   = 5 * time.Second
)

// stream runs one goka processor after the other: a failure of the broker stops
// a processor by design, and none can be run twice. One is also stopped when the
// files that its clients were made with have changed.
type stream struct {
	cfg     config
	graph   *goka.GroupGraph
	aside   *deadLetters
	cluster kafkaclient.Cluster
	tracer  *tracing.Tracer
	log     *slog.Logger
	current atomic.Pointer[goka.Processor]
	beat    heartbeat
}

// heartbeat is when the last one was sent to the group. sarama, which may take
// minutes to give up a session that nobody answers any more, sends one only when
// the one before was answered, and marks a meter then.
type heartbeat struct {
	metrics.NilMeter
	last atomic.Pointer[time.Time]
}

// heartbeatMeter is sarama's name of that meter: 12 is Kafka's number of the
// request.
const heartbeatMeter = "protocol-requests-rate-12"

// Mark implements metrics.Meter.
func (h *heartbeat) Mark(int64) { h.last.Store(new(time.Now())) }

var errChanged = errors.New("kafka's password or certificates have changed")

func newWaits() *backoff.ExponentialBackOff {
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval, waits.MaxInterval = firstWait, maxWait
	return waits
}

// run blocks until ctx ends, and returns the error of ctx.
func (s *stream) run(ctx context.Context) error {
	waits := newWaits()
	for {
		if err := kafkaadmin.WaitForTopics(ctx, s.cluster, s.log, s.cfg.topics()...); err != nil {
			return err
		}
		began := time.Now()
		err := s.process(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Since(began) > maxWait {
			waits.Reset()
		}
		wait := waits.NextBackOff()
		s.log.Warn("processor stopped, starting another one", "err", oneLine(fmt.Sprint(err)), "wait", wait)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// process runs one processor until it fails, ctx ends or the credentials change.
// After the end of ctx it waits for half the time to stop, and then leaves a
// processor behind that is still busy because its broker is away, or lets it in no
// more. That loses nothing: what is not done is not committed.
func (s *stream) process(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	credentials := s.cluster.Credentials(s.log)
	conf, err := saramaConfig(s.cluster, s.cfg.Group)
	if err != nil {
		return err
	}
	if err := conf.MetricRegistry.Register(heartbeatMeter, &s.beat); err != nil {
		return err
	}
	p, err := goka.NewProcessor(s.cluster.Brokers, s.graph, s.options(conf)...)
	if err != nil {
		return err
	}
	s.current.Store(p)
	defer s.current.Store(nil)
	go func() {
		if credentials.AwaitChange(ctx) {
			stop(errChanged)
		}
	}()
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	select {
	case err = <-ended:
	case <-time.After(s.cfg.Common.ShutdownTimeout / 2):
		err = errors.New("still busy when the time was up")
	}
	if err != nil {
		s.log.Warn("processor stopped before all it had begun was done, which is left to the next start", "err", oneLine(err.Error()))
	}
	return context.Cause(ctx)
}

// options gives each of goka's clients a configuration of its own: its builders
// change what they are given.
func (s *stream) options(shared *sarama.Config) []goka.ProcessorOption {
	conf := func() *sarama.Config { c := *shared; return &c }
	return []goka.ProcessorOption{
		goka.WithClientID(group),
		goka.WithLogger(logger{s.log}),
		goka.WithNilHandling(goka.NilProcess),
		goka.WithRebalanceCallback(s.assigned),
		goka.WithConsumerGroupBuilder(commitInOrder(conf(), s.cfg.NumberTopic, s.tracer.Flush, s.log)),
		goka.WithConsumerSaramaBuilder(goka.SaramaConsumerBuilderWithConfig(conf())),
		goka.WithTopicManagerBuilder(goka.TopicManagerBuilderWithConfig(conf(), goka.NewTopicManagerConfig())),
		goka.WithProducerBuilder(gokatrace.ProducerBuilder(s.tracer, goka.ProducerBuilderWithConfig(conf()), numberTags)),
	}
}

// assigned runs at the beginning of a session, before its first heartbeat.
func (s *stream) assigned(a goka.Assignment) {
	s.beat.Mark(1)
	s.log.Info("partitions assigned", "topic", s.cfg.NumberTopic, "partitions", slices.Sorted(maps.Keys(a)))
}

// ready says why the processor is not a member of its group, as far as it can
// know; nil if it is.
func (s *stream) ready() error {
	if p := s.current.Load(); p == nil || !p.Recovered() {
		return errors.New("the processor is not a member of its group")
	}
	if since := time.Since(*s.beat.last.Load()); since > s.cfg.Group.SessionTimeout {
		return fmt.Errorf("the group has not answered for %s", since.Round(time.Second))
	}
	return nil
}
