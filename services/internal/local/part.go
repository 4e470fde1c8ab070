package local

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/prometheus/procfs"
)

// steady is how long a process must have run for its end not to count as one more failure in a row.
const steady = 30 * time.Second

// Process is one life of a program.
type Process interface {
	Stop(ctx context.Context) error // in order
	Kill() error                    // at once
	Freeze() error                  // until Thaw
	Thaw() error
	Group() int            // of processes: the program, and its supervisor
	Done() <-chan struct{} // closed when it has ended
	Ended() error          // how; to be called after Done
}

// Part is a program that is kept running: whatever ends it, it is started again after a wait that grows from failure to failure,
// unless it was stopped on purpose. It is safe for several goroutines.
type Part struct {
	Name   string
	Launch func(context.Context) (Process, error) // returns when it runs
	Tell   func(format string, args ...any)
	Fatal  func(error) bool // tells whether the end of a process ends everything

	mu      sync.Mutex
	process Process // nil: it is stopped; one that has ended: it will be started again
	since   time.Time
}

// Start starts it and returns when it runs. The watch over it lasts until ctx ends.
func (p *Part) Start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process != nil {
		return fmt.Errorf("%s was not stopped", p.Name)
	}
	if err := p.begin(ctx); err != nil {
		return err
	}
	go p.watch(ctx, p.process)
	return nil
}

func (p *Part) begin(ctx context.Context) error {
	process, err := p.Launch(ctx)
	if err != nil {
		return err
	}
	p.process, p.since = process, time.Now()
	return nil
}

// Stop ends it in order, and waits for that until ctx ends. Stopping what is stopped does nothing.
func (p *Part) Stop(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	process := p.process
	p.process = nil
	if process == nil {
		return nil
	}
	return process.Stop(ctx)
}

// Kill ends it at once, as kill -9 does. It will be started again.
func (p *Part) Kill() error {
	return p.act(Process.Kill)
}

// Freeze stops it where it is, until Thaw, as SIGSTOP does.
func (p *Part) Freeze() error { return p.act(Process.Freeze) }

// Thaw lets it go on.
func (p *Part) Thaw() error { return p.act(Process.Thaw) }

// PID is the process id of the program, not of its supervisor. It is there on Linux only.
func (p *Part) PID() (pid int, err error) {
	err = p.act(func(process Process) error {
		pid, err = programOf(process.Group())
		return err
	})
	return pid, err
}

// programOf finds what a supervisor runs.
func programOf(supervisor int) (int, error) {
	all, err := procfs.AllProcs()
	if err != nil {
		return 0, fmt.Errorf("find the program of process %d: %w", supervisor, err)
	}
	for _, process := range all {
		if stat, err := process.Stat(); err == nil && stat.PPID == supervisor { // on an error it has ended
			return process.PID, nil
		}
	}
	return 0, fmt.Errorf("process %d runs no program", supervisor)
}

// act does something to a process that runs.
func (p *Part) act(do func(Process) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process == nil {
		return fmt.Errorf("%s is stopped", p.Name)
	}
	select {
	case <-p.process.Done():
		return fmt.Errorf("%s has ended already, and will be started again", p.Name)
	default:
		return do(p.process)
	}
}

// State says in a few words whether it runs.
func (p *Part) State() string {
	if !p.mu.TryLock() {
		return "is being started or stopped"
	}
	defer p.mu.Unlock()
	if p.process == nil {
		return "stopped"
	}
	select {
	case <-p.process.Done():
		return "has ended and will be started again"
	default:
		return "runs since " + p.since.Format(time.TimeOnly)
	}
}

// watch starts it again whenever it ends, until it is stopped or ctx ends.
func (p *Part) watch(ctx context.Context, process Process) {
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval, waits.MaxInterval, waits.RandomizationFactor = 500*time.Millisecond, 10*time.Second, 0
	for process != nil {
		<-process.Done() // at the latest when everything is stopped
		process = p.again(ctx, process, waits)
	}
}

// again starts it again in the place of a process that has ended; nil: it is not to run any more.
func (p *Part) again(ctx context.Context, ended Process, waits *backoff.ExponentialBackOff) Process {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.since) > steady {
		waits.Reset()
	}
	for reason := ended.Ended(); p.process == ended && ctx.Err() == nil && !p.Fatal(reason); {
		wait := waits.NextBackOff()
		p.Tell("%v", reason)
		p.Tell("%s is started again in %s", p.Name, wait.Round(100*time.Millisecond))
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
			p.Tell("%s runs again", p.Name)
			return p.process
		}
	}
	return nil
}
