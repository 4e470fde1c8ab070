package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// scarcities are the faults by limits of a process.
func scarcities() []fault {
	return []fault{
		{"relay with few file descriptors", "relay", 4 * time.Second, narrow},
		{"Kafka stopped, few file descriptors to connect again", "kafka", 4 * time.Second, narrowReturn},
	}
}

// limit lowers a limit of a process, one of RLIMIT_*, until lift is called.
func limit(pid, resource int, most uint64) (lift func(), err error) {
	var before unix.Rlimit
	if err := unix.Prlimit(pid, resource, nil, &before); err != nil {
		return nil, fmt.Errorf("limit process %d: %w", pid, err)
	}
	if err := unix.Prlimit(pid, resource, &unix.Rlimit{Cur: most, Max: before.Max}, nil); err != nil {
		return nil, fmt.Errorf("limit process %d: %w", pid, err)
	}
	return func() { _ = unix.Prlimit(pid, resource, &before, nil) }, nil // it may have ended
}

// fewDescriptors lets parts open no file or connection, until lift is called, but in the place of some that they have now: at most half of those they must not replace.
func (p *proof) fewDescriptors(r *rand.Rand, names ...string) (lift func()) {
	var lifts []func()
	for _, name := range names {
		pid, err := p.parts[name].PID()
		if err != nil {
			continue // it has ended, and may be killed by another fault
		}
		open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			continue
		}
		if lift, err := limit(pid, unix.RLIMIT_NOFILE, uint64(len(open)-1-r.IntN(len(open)/2))); err == nil {
			lifts = append(lifts, lift)
		}
	}
	return func() {
		for _, lift := range lifts {
			lift()
		}
	}
}

// narrow has the relay make a connection for each post, while it has few file descriptors.
func narrow(ctx context.Context, p *proof, r *rand.Rand) error {
	defer p.fewDescriptors(r, "relay")()
	p.front.server.SetKeepAlivesEnabled(false)
	defer p.front.server.SetKeepAlivesEnabled(true)
	<-ctx.Done()
	return nil
}

// narrowReturn starts Kafka anew while nobody has more than a few file descriptors to connect to it again.
func narrowReturn(ctx context.Context, p *proof, r *rand.Rand) error {
	defer p.fewDescriptors(r, slices.Concat(services, clients)...)()
	if err := p.stop(p.nodes...); err != nil {
		return err
	}
	for _, name := range p.nodes {
		if err := p.parts[name].Start(p.running); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return nil
}
