package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"fault-tolerant-tracing/services/internal/jaeger"
	"fault-tolerant-tracing/services/internal/local"
	"fault-tolerant-tracing/services/internal/service"
)

const (
	// startTimeout is how long each part may take to be ready. All take seconds; a busy machine takes longer.
	startTimeout = 90 * time.Second
	// stopTimeout bounds the stopping of everything together.
	stopTimeout = time.Minute
	// patience is how long nothing may get better while something is waited for.
	patience = 90 * time.Second
	// longest is how long one fault goes on at most.
	longest = 2 * time.Minute
	// alonePart is how much of the time is for faults that come alone.
	alonePart = 0.7
)

var errInterrupted = errors.New("interrupted")

// proof is one run.
type proof struct {
	seed     uint64
	duration time.Duration
	self     string   // this program
	jars     string   // of Apache Kafka; "": the small broker
	nodes    []string // of Kafka
	root     string   // of the repository
	work     string   // folder of everything that a run leaves behind; removed and made anew by run
	out      io.Writer
	began    time.Time

	ports  ports
	front  *front
	jaeger *jaeger.Process
	query  *jaeger.Query
	parts  map[string]*local.Part
	lag    *lag

	misadvertised atomic.Pointer[string] // the node of Kafka that tells its clients a wrong address

	running  context.Context // ends with the run
	phases   []phase
	missed   []string    // faults for which there was no time
	up       atomic.Bool // what ends from now on is started again
	teardown service.Teardown
}

// phase is one part of the run: a fault, or several, and the recovery from it.
type phase struct {
	name      string
	began     time.Time
	lasted    time.Duration // the fault
	recovered time.Duration // from its end
}

// newProof is a run of the program at self, with Apache Kafka from a folder of jars if there is one.
func newProof(self, root, work, jars string, seed uint64, duration time.Duration) *proof {
	p := &proof{seed: seed, duration: duration, self: self, jars: jars, root: root, work: work, out: os.Stdout, parts: map[string]*local.Part{}}
	p.nodes = []string{"kafka"}
	if jars != "" {
		p.nodes = []string{"kafka-1", "kafka-2", "kafka-3"}
	}
	return p
}

func (p *proof) bin(name string) string  { return filepath.Join(p.root, "bin", name) }
func (p *proof) data(name string) string { return filepath.Join(p.work, name) }
func (p *proof) log(name string) string  { return filepath.Join(p.work, "logs", name+".log") }

func (p *proof) say(format string, args ...any) {
	fmt.Fprintf(p.out, "%6s  %s\n", time.Since(p.began).Round(time.Second), fmt.Sprintf(format, args...))
}

// run runs everything, stops it again, and returns an error if anything was lost.
func (p *proof) run(ctx context.Context) error {
	p.began = time.Now()
	p.say("seed %d, %s, faults for %s; everything is in %s", p.seed, p.kafka(), p.duration, p.work)
	return p.within(ctx, p.prove)
}

// within does something in a folder that is made anew, stops everything that was started, and returns the error of either.
func (p *proof) within(ctx context.Context, do func(ctx context.Context, fail context.CancelCauseFunc) error) error {
	if err := p.cleanUp(); err != nil {
		return err
	}
	running, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	p.running = running
	err := do(running, fail)
	if ctx.Err() != nil {
		err = errInterrupted
	} else if running.Err() != nil {
		err = context.Cause(running)
	}
	fail(errInterrupted)
	p.say("stopping everything")
	return errors.Join(err, p.teardown.Run(stopTimeout))
}

func (p *proof) cleanUp() error {
	if err := os.RemoveAll(p.work); err != nil {
		return fmt.Errorf("remove what the last run left: %w", err)
	}
	for _, dir := range []string{"logs", "ledger", "spool"} {
		if err := os.MkdirAll(p.data(dir), 0o755); err != nil {
			return fmt.Errorf("make the folder of this run: %w", err)
		}
	}
	return nil
}

func (p *proof) prove(ctx context.Context, fail context.CancelCauseFunc) error {
	if err := p.start(ctx, fail); err != nil {
		return err
	}
	p.up.Store(true)
	stopFeeding := p.feed(ctx)
	defer stopFeeding()
	p.phase("no fault")
	if err := p.last(ctx, 5*time.Second); err != nil {
		return err
	}
	stalled := p.faults(ctx)
	if stalled != nil {
		p.say("%v", stalled)
	}
	p.phase("afterwards")
	if err := p.last(ctx, 5*time.Second); err != nil {
		return err
	}
	stopFeeding()
	for _, name := range clients {
		if err := p.parts[name].Stop(ctx); err != nil {
			return err
		}
	}
	r, err := p.judge(ctx)
	if err != nil {
		return err
	}
	return errors.Join(stalled, p.tell(r))
}

// phase begins a part of the run.
func (p *proof) phase(name string) *phase {
	p.phases = append(p.phases, phase{name: name, began: time.Now()})
	return &p.phases[len(p.phases)-1]
}

// phaseAt is that of a time.
func (p *proof) phaseAt(at time.Time) int {
	return max(0, sort.Search(len(p.phases), func(i int) bool { return p.phases[i].began.After(at) })-1)
}

// last lets a phase without a fault last so long.
func (p *proof) last(ctx context.Context, long time.Duration) error {
	select {
	case <-time.After(long):
		p.phases[len(p.phases)-1].lasted = long
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// faults lets one fault after the other happen, and then several at a time.
func (p *proof) faults(ctx context.Context) error {
	all := p.allFaults()
	order := rand.New(rand.NewPCG(p.seed, 0))
	order.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	began := time.Now()
	share := min(longest, time.Duration(alonePart*float64(p.duration))/time.Duration(2*len(all)))
	for i, f := range all {
		long := max(f.least, share)
		if time.Since(began)+long > time.Duration(alonePart*float64(p.duration)) {
			for _, f := range all[i:] {
				p.missed = append(p.missed, f.name)
			}
			p.say("there is no time to have these alone: %s", strings.Join(p.missed, "; "))
			break
		}
		if err := p.happen(ctx, long, f); err != nil {
			return err
		}
	}
	order = rand.New(rand.NewPCG(p.seed, 1))
	for time.Since(began) < p.duration {
		some := together(all, order)
		long := share
		for _, f := range some {
			long = max(long, f.least)
		}
		if err := p.happen(ctx, long, some...); err != nil {
			return err
		}
	}
	return nil
}

// together picks two or three faults that can happen at the same time.
func together(all []fault, r *rand.Rand) (some []fault) {
	many := 2 + r.IntN(2)
	for _, i := range r.Perm(len(all)) {
		if len(some) < many && !slices.ContainsFunc(some, all[i].meets) {
			some = append(some, all[i])
		}
	}
	return some
}

// happen lets faults happen together for so long, and waits until everything has recovered.
func (p *proof) happen(ctx context.Context, long time.Duration, some ...fault) error {
	var names []string
	for _, f := range some {
		names = append(names, f.name)
	}
	name := strings.Join(names, " + ")
	now, err := p.inflict(ctx, long, uint64(len(p.phases)), name, some...)
	if err != nil {
		return err
	}
	if err := p.recover(ctx, now); err != nil {
		return fmt.Errorf("after %s: %w", name, err)
	}
	p.say("… recovered after %.1f s", now.recovered.Seconds())
	return nil
}

// inflict lets faults happen together for so long, as a phase with a name. The number and the seed decide what is random in them.
func (p *proof) inflict(ctx context.Context, long time.Duration, number uint64, name string, some ...fault) (*phase, error) {
	now := p.phase(name)
	p.say("%s, for %s", name, long.Round(100*time.Millisecond))
	during, end := context.WithTimeout(ctx, long)
	defer end()
	happening, _ := errgroup.WithContext(ctx)
	for i, f := range some {
		happening.Go(func() error {
			return f.inflict(during, p, rand.New(rand.NewPCG(p.seed, number<<8+uint64(i)+2)))
		})
	}
	if err := happening.Wait(); err != nil && ctx.Err() == nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	now.lasted = time.Since(now.began)
	return now, nil
}

// recover waits until all that was on the topics when the fault ended is done.
func (p *proof) recover(ctx context.Context, now *phase) error {
	ended := time.Now()
	goal, err := p.lag.goal(ctx, slices.Collect(maps.Values(readers))...)
	if err != nil {
		return err
	}
	if err := p.lag.reach(ctx, goal); err != nil {
		return err
	}
	now.recovered = time.Since(ended)
	return nil
}
