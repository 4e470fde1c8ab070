package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	outages        = 20
	away           = 1500 * time.Millisecond // and the time Jaeger takes to start; the relay then waits as long between two tries as it ever does
	look           = 5 * time.Millisecond    // between two looks
	recoveryTarget = time.Second
)

// recovery measures, over a number of outages of Jaeger, how long after it is
// back the relay's first post is answered with 2xx.
func (b *bench) recovery(ctx context.Context, by program) (table, error) {
	topic, err := b.newTopic(ctx, "spans-recovery", partitions)
	if err := errors.Join(err, b.kafka.forget(ctx, relayGroup)); err != nil {
		return nil, err
	}
	at, err := freeAddrs()
	if err != nil {
		return nil, err
	}
	jaeger, err := b.startCollectorAt(ctx, at, memoryStore)
	if err != nil {
		return nil, err
	}
	defer func() { jaeger.stop() }() // the last one
	r, err := b.startRelay(by, topic, deadLetter, jaeger.urls)
	if err != nil {
		return nil, err
	}
	defer r.stop()
	clients, err := b.startClients(1, topic)
	if err != nil {
		return nil, err
	}
	defer clients.stop()
	if err := r.await(ctx, func(ctx context.Context) error { return r.hasSent(ctx, 1) }); err != nil {
		return nil, err
	}
	var took []time.Duration
	for range outages {
		if err := r.await(ctx, func(ctx context.Context) error { return r.is(ctx, "delivering") }); err != nil {
			return nil, err
		}
		jaeger.kill()
		if err := r.await(ctx, func(ctx context.Context) error { return r.is(ctx, "holding") }); err != nil {
			return nil, err
		}
		if err := pause(ctx, time.Now().Add(away)); err != nil {
			return nil, err
		}
		before, err := r.status(ctx)
		if err != nil {
			return nil, err
		}
		var d time.Duration
		both, ctx := errgroup.WithContext(ctx)
		both.Go(func() (err error) {
			d, err = firstDelivery(ctx, r, before.SpansSent, jaeger.urls.otlp)
			return err
		})
		next, err := b.startCollectorAt(ctx, at, memoryStore)
		if err != nil {
			return nil, err
		}
		jaeger = next
		if err := both.Wait(); err != nil {
			return nil, err
		}
		took = append(took, d)
	}
	_, err = clients.finish()
	return recoveryTable(by, took), err
}

// firstDelivery waits until Jaeger answers at url and the relay has sent more
// spans than before, and returns the time between the two. It is no shorter than
// in truth: it begins with the last look that found Jaeger away, and ends when
// the relay has told.
func firstDelivery(ctx context.Context, r *relay, before int, url string) (time.Duration, error) {
	var last time.Time
	for at := time.Now(); !answers(ctx, url); at = time.Now() {
		last = at
		if err := pause(ctx, at.Add(look)); err != nil {
			return 0, err
		}
	}
	if last.IsZero() {
		return 0, errors.New("jaeger answers before it was started")
	}
	for {
		now, err := r.status(ctx)
		if err != nil {
			return 0, err
		}
		if now.SpansSent > before {
			return time.Since(last), nil
		}
		if err := pause(ctx, time.Now().Add(look)); err != nil {
			return 0, err
		}
	}
}

// answers says whether a collector answers at all: to GET it does with 405.
func answers(ctx context.Context, url string) bool {
	_, err := get(ctx, url)
	var answer *statusError
	return err == nil || errors.As(err, &answer)
}

func recoveryTable(by program, took []time.Duration) table {
	slices.Sort(took)
	return table{
		{fmt.Sprintf("%d outages of Jaeger", len(took)), "least, ms", "median, ms", "most, ms", "target, ms"},
		{"from its first answer to the first 2xx for the relay" + by.note, millis(took[0]), millis(quantile(took, 50)), millis(quantile(took, 100)), "most ≤ " + millis(recoveryTarget)},
	}
}
