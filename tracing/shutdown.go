package tracing

import (
	"context"
	"errors"
	"io"
	"time"

	"fault-tolerant-tracing/tracing/internal/outbox"
)

const closeTimeout = 5 * time.Second

// LeftBehindError says that a tracer or transport was closed before all its spans
// were sent, and that they are lost.
type LeftBehindError = outbox.LeftBehindError

// Shutdown flushes, waits until Kafka has acknowledged everything or ctx ends, and
// releases the transport. What is left then goes to the spool. If there is none, or
// it does not take them, the error is a *LeftBehindError.
// Further calls wait for the first and return its result.
func (t *Transport) Shutdown(ctx context.Context) error {
	t.closeOnce.Do(func() {
		t.mu.Lock()
		t.flush()
		t.closed = true
		t.mu.Unlock()
		t.closeErr = t.outbox.Shutdown(ctx)
	})
	return t.closeErr
}

// Close implements jaeger.Transport: Shutdown within 5 seconds. It also logs the
// error, which Jaeger's reporter drops.
func (t *Transport) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := t.Shutdown(ctx)
	if err != nil {
		t.log.Warn("tracing transport closed", "err", err)
	}
	return err
}

// handOver is how long the reporter needs, at most, to hand over a span that waits in its queue while it is not busy.
const handOver = time.Millisecond

func (t *Transport) flushUpTo(ctx context.Context, reported uint64) error {
	for t.appended.Load()+t.dropped() < reported {
		select {
		case <-time.After(handOver):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if _, err := t.Flush(); err != nil {
		return err
	}
	return t.outbox.Flush(ctx)
}

func (t *Transport) shutdownAfter(ctx context.Context, tracer io.Closer) error {
	return errors.Join(tracer.Close(), t.Shutdown(ctx))
}
