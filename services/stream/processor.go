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
	"fault-tolerant-tracing/tracing/gokatrace"

	"github.com/IBM/sarama"
	"github.com/cenkalti/backoff/v5"
	"github.com/lovoo/goka"
	"github.com/opentracing/opentracing-go"
)

// Waits between a processor that failed and the next one.
const (
	firstWait = 250 * time.Millisecond
	maxWait   = 5 * time.Second
)

// stream runs one goka processor after the other: a failure of the broker stops
// a processor by design, and none can be run twice.
type stream struct {
	cfg     config
	sarama  *sarama.Config
	graph   *goka.GroupGraph
	tracer  opentracing.Tracer
	log     *slog.Logger
	current atomic.Pointer[goka.Processor]
}

// run blocks until ctx ends, and returns the error of ctx.
func (s *stream) run(ctx context.Context) error {
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval, waits.MaxInterval = firstWait, maxWait
	for {
		if err := kafkaadmin.WaitForTopics(ctx, s.cfg.Kafka.Cluster(), s.log, s.cfg.topics()...); err != nil {
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

// process runs one processor until it fails or ctx ends. After the end of ctx it
// waits for half the time to stop, and then leaves a processor behind that is
// still busy because its broker is away. That loses nothing: what is not done is
// not committed.
func (s *stream) process(ctx context.Context) error {
	p, err := goka.NewProcessor(s.cfg.Kafka.Brokers, s.graph, s.options()...)
	if err != nil {
		return err
	}
	s.current.Store(p)
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
	return nil
}

// options gives each of goka's clients a configuration of its own: its builders
// change what they are given.
func (s *stream) options() []goka.ProcessorOption {
	conf := func() *sarama.Config { c := *s.sarama; return &c }
	return []goka.ProcessorOption{
		goka.WithClientID(group),
		goka.WithLogger(logger{s.log}),
		goka.WithNilHandling(goka.NilProcess),
		goka.WithRebalanceCallback(s.logAssignment),
		goka.WithConsumerGroupBuilder(commitInOrder(goka.ConsumerGroupBuilderWithConfig(conf()), s.log)),
		goka.WithConsumerSaramaBuilder(goka.SaramaConsumerBuilderWithConfig(conf())),
		goka.WithTopicManagerBuilder(goka.TopicManagerBuilderWithConfig(conf(), goka.NewTopicManagerConfig())),
		goka.WithProducerBuilder(gokatrace.ProducerBuilder(s.tracer, goka.ProducerBuilderWithConfig(conf()))),
	}
}

func (s *stream) logAssignment(a goka.Assignment) {
	s.log.Info("partitions assigned", "topic", s.cfg.NumberTopic, "partitions", slices.Sorted(maps.Keys(a)))
}

// ready says why the processor has not joined its group; nil if it has.
func (s *stream) ready() error {
	if p := s.current.Load(); p == nil || !p.Recovered() {
		return errors.New("the processor is not a member of its group")
	}
	return nil
}
