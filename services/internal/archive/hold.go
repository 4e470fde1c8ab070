package archive

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// persist calls f, once or until it succeeds.
type persist func(ctx context.Context, f func(context.Context) error) error

func once(ctx context.Context, f func(context.Context) error) error { return f(ctx) }

// hold calls f until it succeeds or ctx ends. While that takes long nothing is
// read, but polling goes on, so that the partitions stay ours.
func (a *Archiver) hold(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- a.insist(ctx, f) }()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
	}
	defer a.resume(a.pause())
	for {
		select {
		case err := <-done:
			return err
		default:
		}
		a.take(a.client.Poll(int(pollTimeout.Milliseconds())))
		if a.fatal != nil {
			cancel()
			return errors.Join(<-done, a.fatal)
		}
	}
}

// insist calls f until it succeeds or ctx ends. It logs when that begins to fail
// and when it is over.
func (a *Archiver) insist(ctx context.Context, f func(context.Context) error) error {
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval, waits.MaxInterval = firstWait, maxWait
	var failing time.Time
	_, err := backoff.Retry(ctx, func() (struct{}, error) { return struct{}{}, f(ctx) },
		backoff.WithBackOff(waits), backoff.WithMaxElapsedTime(0), backoff.WithNotify(func(err error, _ time.Duration) {
			if failing.IsZero() {
				failing = time.Now()
				a.log.Warn("archiving is on hold, nothing is skipped", "topic", a.cfg.Topic, "err", err)
			}
		}))
	if err == nil && !failing.IsZero() {
		a.log.Info("archiving goes on", "topic", a.cfg.Topic, "took", time.Since(failing))
	}
	return err
}

// pause stops reading, and returns what it has paused.
func (a *Archiver) pause() []kafka.TopicPartition {
	assigned, err := a.client.Assignment()
	if err == nil {
		err = a.client.Pause(assigned)
	}
	a.log.Debug("reading is paused", "topic", a.cfg.Topic, "err", err)
	return assigned
}

// resume undoes pause, also for partitions that are not ours at the moment: they
// would be paused still when they come back.
func (a *Archiver) resume(partitions []kafka.TopicPartition) {
	if err := a.client.Resume(partitions); err != nil {
		a.log.Debug("could not resume", "topic", a.cfg.Topic, "err", err)
	}
}
