package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"fault-tolerant-tracing/services/internal/collector"
	"fault-tolerant-tracing/services/internal/deliver"
)

// ack says what a record has to be before it is committed: the setting RELAY_ACK.
type ack string

const (
	accepted ack = "accepted" // taken by Jaeger
	verified ack = "verified" // and Jaeger has lived on for ackWindow since
)

// ackWindow is after how long what Jaeger has taken counts as stored, if it is still the same
// process. A batch processor sends after 200 ms unless it is told otherwise; some are told to
// wait for seconds.
const ackWindow = 5 * time.Second

// witness posts to Jaeger while it has a connection of its own to it, which carries no
// spans. As long as that answers, the same process is at its other end: a process that ends,
// however it does, takes its connections along. A record that breaks the connection it came
// by does not break this one. It is safe for several goroutines.
type witness struct {
	deliver.Poster
	connect func() *collector.Collector // returns one that connects once
	window  time.Duration               // after which what was taken counts as stored; Jaeger is asked five times in it

	asking   sync.Mutex // held while Jaeger is asked
	flushing sync.Mutex // held by Flush

	mu      sync.Mutex
	at      *collector.Collector // nil: there is no connection
	seen    time.Time            // when the last question that was answered was asked
	taken   uint64               // posts
	safe    uint64               // of these, those from the beginning on that are stored, or will be done again
	lost    bool                 // others may be
	changed chan struct{}        // closed, and made anew, when seen or lost changes
}

func newWitness(posts deliver.Poster, connect func() *collector.Collector, window time.Duration) *witness {
	return &witness{Poster: posts, connect: connect, window: window, changed: make(chan struct{})}
}

// Post implements [deliver.Poster].
func (w *witness) Post(ctx context.Context, body []byte) error {
	at, err := w.present(ctx)
	if err != nil {
		return fmt.Errorf("a post without spans, for RELAY_ACK=verified: %w", err)
	}
	err = w.Poster.Post(ctx, body)
	if deliver.Taken(err) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.taken++
		if w.at != at {
			w.lose()
		}
	}
	return err
}

// present returns the connection, which it makes if there is none.
func (w *witness) present(ctx context.Context) (*collector.Collector, error) {
	if at := w.current(); at != nil {
		return at, nil
	}
	w.asking.Lock()
	defer w.asking.Unlock()
	if w.current() == nil {
		if err := w.ask(ctx); err != nil {
			return nil, err
		}
	}
	return w.current(), nil
}

func (w *witness) current() *collector.Collector {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at
}

// watch asks again and again until ctx ends.
func (w *witness) watch(ctx context.Context) {
	ticks := time.NewTicker(w.window / 5)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		w.asking.Lock()
		_ = w.ask(ctx) // posts tell of it
		w.asking.Unlock()
	}
}

// ask asks by the connection that is there, or by a new one.
func (w *witness) ask(ctx context.Context) error {
	before := w.current()
	at := before
	if at == nil {
		at = w.connect()
	}
	asked := time.Now()
	err := at.Post(ctx, nil) // a request of OTLP without spans
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.at, w.seen = at, asked
		w.change()
		return nil
	}
	at.Close()
	if before != nil {
		w.at = nil
		if w.taken > w.safe {
			w.lose()
		}
	}
	return err
}

func (w *witness) lose() {
	w.lost = true
	w.change()
}

func (w *witness) change() {
	close(w.changed)
	w.changed = make(chan struct{})
}

var (
	errLost = errors.New("jaeger has ended, or could not be reached, soon after it had taken spans")
	errSoon = errors.New("it is too soon to tell whether jaeger has stored what it took last")
)

// Flush implements Flush of [consume.Config]: it waits until what was taken before is
// stored.
func (w *witness) Flush(ctx context.Context) error {
	if deadline, limited := ctx.Deadline(); limited && time.Until(deadline) < w.window {
		return errSoon
	}
	w.flushing.Lock() // what one call is told of is lost is for its caller to do again before the next one
	defer w.flushing.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	began := time.Now()
	for taken := w.taken; ; {
		switch {
		case w.lost:
			w.lost, w.safe = false, w.taken
			return errLost
		case w.seen.Sub(began) >= w.window:
			w.safe = taken
			return nil
		}
		changed := w.changed
		w.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		w.mu.Lock()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// close closes the connection.
func (w *witness) close() {
	if at := w.current(); at != nil {
		at.Close()
	}
}
