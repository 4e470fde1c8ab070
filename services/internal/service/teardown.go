package service

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// grace is what a step may take once the time is up: enough for one that heeds its context to tell what it leaves behind.
const grace = time.Second

// Teardown closes what a program has opened, last opened first. The zero value is ready to use. It is safe for several
// goroutines.
type Teardown struct {
	mu    sync.Mutex
	steps []step
	once  sync.Once
	err   error
}

type step struct {
	name string
	f    func(context.Context) error
}

// Add registers f under a name that its error will carry. f gets a context that ends when its share of Run's time is up.
func (t *Teardown) Add(name string, f func(context.Context) error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.steps = append(t.steps, step{name, f})
}

// Run calls every step in reverse order, also after one has failed, and returns all their errors joined. It takes at most about
// timeout for all of them together; each may use half of what is left, so that something remains for those after it, and the last
// one all of it. A step that does not heed its context is left behind, with an error that says so. A second Run does nothing and
// returns what the first did.
func (t *Teardown) Run(timeout time.Duration) error {
	t.once.Do(func() {
		deadline := time.Now().Add(timeout)
		t.mu.Lock()
		steps := t.steps
		t.mu.Unlock()
		var errs []error
		for i := len(steps) - 1; i >= 0; i-- {
			share := time.Until(deadline)
			if i > 0 {
				share /= 2
			}
			errs = append(errs, steps[i].run(share))
		}
		t.err = errors.Join(errs...)
	})
	return t.err
}

func (s step) run(timeout time.Duration) error {
	ctx, stop := context.WithTimeout(context.Background(), timeout)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- s.f(ctx) }()
	late, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("close %s: %w", s.name, err)
		}
		return nil
	case <-late.Done():
		return fmt.Errorf("close %s: still busy after %s", s.name, timeout)
	}
}
