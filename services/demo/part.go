package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// steady is how long a process must have run for its end not to count as one more failure in a row.
const steady = 30 * time.Second

// process is one life of a program.
type process interface {
	stop(ctx context.Context) error // in order
	kill() error                    // at once
	done() <-chan struct{}          // closed when it has ended
	ended() error                   // how; to be called after done
}

// part is a program that is kept running: whatever ends it, it is started again after a wait that grows from failure to failure,
// unless it was stopped on purpose. It is safe for several goroutines.
type part struct {
	name   string
	launch func(context.Context) (process, error) // returns when it runs
	tell   func(format string, args ...any)
	fatal  func(error) bool // tells whether the end of a process ends everything

	mu      sync.Mutex
	process process // nil: it is stopped; one that has ended: it will be started again
	since   time.Time
}

// start starts it and returns when it runs. The watch over it lasts until ctx ends.
func (p *part) start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process != nil {
		return fmt.Errorf("%s was not stopped", p.name)
	}
	if err := p.begin(ctx); err != nil {
		return err
	}
	go p.watch(ctx, p.process)
	return nil
}

func (p *part) begin(ctx context.Context) error {
	process, err := p.launch(ctx)
	if err != nil {
		return err
	}
	p.process, p.since = process, time.Now()
	return nil
}

// stop ends it in order, and waits for that until ctx ends. Stopping what is stopped does nothing.
func (p *part) stop(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	process := p.process
	p.process = nil
	if process == nil {
		return nil
	}
	return process.stop(ctx)
}

// kill ends it at once, as kill -9 does. It will be started again.
func (p *part) kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process == nil {
		return fmt.Errorf("%s is stopped", p.name)
	}
	select {
	case <-p.process.done():
		return fmt.Errorf("%s has ended already, and will be started again", p.name)
	default:
		return p.process.kill()
	}
}

// state says in a few words whether it runs.
func (p *part) state() string {
	if !p.mu.TryLock() {
		return "is being started or stopped"
	}
	defer p.mu.Unlock()
	if p.process == nil {
		return "stopped"
	}
	select {
	case <-p.process.done():
		return "has ended and will be started again"
	default:
		return "runs since " + p.since.Format(time.TimeOnly)
	}
}

// watch starts it again whenever it ends, until it is stopped or ctx ends.
func (p *part) watch(ctx context.Context, process process) {
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval, waits.MaxInterval, waits.RandomizationFactor = 500*time.Millisecond, 10*time.Second, 0
	for process != nil {
		<-process.done() // at the latest when everything is stopped
		process = p.again(ctx, process, waits)
	}
}

// again starts it again in the place of a process that has ended; nil: it is not to run any more.
func (p *part) again(ctx context.Context, ended process, waits *backoff.ExponentialBackOff) process {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.since) > steady {
		waits.Reset()
	}
	for reason := ended.ended(); p.process == ended && ctx.Err() == nil && !p.fatal(reason); {
		wait := waits.NextBackOff()
		p.tell("%v", reason)
		p.tell("%s is started again in %s", p.name, wait.Round(100*time.Millisecond))
		p.mu.Unlock()
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
		p.mu.Lock()
		if p.process != ended || ctx.Err() != nil {
			break
		}
		if reason = p.begin(ctx); reason == nil {
			p.tell("%s runs again", p.name)
			return p.process
		}
	}
	return nil
}
