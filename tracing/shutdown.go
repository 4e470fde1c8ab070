package tracing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

const closeTimeout = 5 * time.Second

// LeftBehindError says that a tracer or transport was closed before all its spans
// were sent.
type LeftBehindError struct {
	Spans int   // not acknowledged; some of them may have arrived
	Err   error // why there was no more time
}

func (e *LeftBehindError) Error() string {
	return fmt.Sprintf("%d span(s) left behind: %v", e.Spans, e.Err)
}

// Unwrap returns Err.
func (e *LeftBehindError) Unwrap() error { return e.Err }

// Shutdown flushes, waits until Kafka has acknowledged everything or ctx ends, and
// releases the transport. If spans were left, the error is a *LeftBehindError.
// Further calls wait for the first and return its result.
func (t *Transport) Shutdown(ctx context.Context) error {
	t.closeOnce.Do(func() {
		t.mu.Lock()
		t.flush()
		t.closed = true
		t.mu.Unlock()
		t.closeErr = t.sender.shutdown(ctx)
		t.finish()
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

func (t *Transport) shutdownAfter(ctx context.Context, tracer io.Closer) error {
	return errors.Join(tracer.Close(), t.Shutdown(ctx))
}
