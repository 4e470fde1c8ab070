package main

import (
	"sync"
	"time"
)

// logInterval is how often the same log line may appear.
const logInterval = time.Second

// throttled lets a log line through at once and then at most one per interval,
// which adds up those that were left out. Make it with &throttled{interval: …}.
// It is safe for several goroutines.
type throttled struct {
	interval time.Duration

	mu      sync.Mutex
	timer   *time.Timer // runs while lines are held back
	total   int
	pending func(total int) // the latest line held back
}

// add asks for the line that emit writes, for n more of what it counts.
func (t *throttled) add(n int, emit func(total int)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer == nil {
		t.timer = time.AfterFunc(t.interval, t.expire)
		emit(n)
		return
	}
	t.total += n
	t.pending = emit
}

func (t *throttled) expire() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pending == nil || t.timer == nil {
		t.timer = nil
		return
	}
	t.emit()
	t.timer.Reset(t.interval)
}

// flush writes what is held back.
func (t *throttled) flush() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
	t.emit()
}

// emit writes the line held back, if there is one. The caller holds mu.
func (t *throttled) emit() {
	if t.pending != nil {
		t.pending(t.total)
	}
	t.total, t.pending = 0, nil
}
