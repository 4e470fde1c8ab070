package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"fault-tolerant-tracing/services/internal/control"
	"fault-tolerant-tracing/services/internal/jaeger"
	"fault-tolerant-tracing/services/internal/local"
	"fault-tolerant-tracing/services/internal/service"
	"fault-tolerant-tracing/services/internal/verdict"
	"fault-tolerant-tracing/tracing"
)

// stopTimeout bounds the stopping of everything together. Each program takes a second or so; one that hangs is killed by its
// supervisor after local.StopGrace.
const stopTimeout = 40 * time.Second

// collector is what the relay speaks to Jaeger.
type collector string

const (
	otlp   collector = "otlp"   // all that waits in one post
	thrift collector = "thrift" // as in the article: each record by itself, as it is
)

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *collector) UnmarshalText(text []byte) error {
	switch *c = collector(text); *c {
	case otlp, thrift:
		return nil
	}
	return fmt.Errorf("want %s or %s", otlp, thrift)
}

// MarshalText implements encoding.TextMarshaler.
func (c collector) MarshalText() ([]byte, error) { return []byte(c), nil }

// demo is one run of the story.
type demo struct {
	transport  tracing.Kind
	collector  collector
	root       string   // of the repository: the programs, the numbers
	work       string   // folder of everything that a run leaves behind; removed and made anew by run
	supervisor []string // command prefix that children run under
	broker     []string // command that runs the Kafka broker, without its arguments
	ports      ports
	screen     *screen
	stay       bool // stay up after the verdict, until Ctrl-C

	jaeger  *jaeger.Process
	query   *jaeger.Query
	up      atomic.Bool // the story is told: what ends from now on is started again
	telling atomic.Bool // it is being told, for the first time or again

	mu      sync.Mutex
	running []*local.Part
	counted *control.Verdict // nil: nothing has been yet

	example *verdict.Number // an even one of the last flow; nil: there was none

	stoppedAt time.Time // when Jaeger was stopped

	fail     context.CancelCauseFunc // ends the run with an error
	teardown service.Teardown
}

func (d *demo) bin(name string) string  { return filepath.Join(d.root, "bin", name) }
func (d *demo) logs() string            { return filepath.Join(d.work, "logs") }
func (d *demo) log(name string) string  { return filepath.Join(d.logs(), name+".log") }
func (d *demo) data(name string) string { return filepath.Join(d.work, name) }
func (d *demo) withRelay() bool         { return d.transport == tracing.Kafka }

// withOpenTelemetry reports whether the spans of an OpenTelemetry client can be delivered: they go by Kafka, and as OTLP.
func (d *demo) withOpenTelemetry() bool { return d.withRelay() && d.collector == otlp }

func (d *demo) brokers() []string { return []string{addr(d.ports.Kafka)} }

// shown shortens a path for the person in front, who is in the repository.
func (d *demo) shown(path string) string {
	if rel, err := filepath.Rel(d.root, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}

// run runs the story, stops everything and returns the exit code. Unless it is 0, the person in front has been told why, or err
// says it.
func (d *demo) run(ctx context.Context) (code int, err error) {
	numbers, err := readNumbers(filepath.Join(d.root, "data", "numbers.txt"))
	if err != nil {
		return exitFailed, err
	}
	if err := errors.Join(d.checkPrograms(), d.ports.checkFree()); err != nil {
		return exitFailed, err
	}
	if err := d.cleanUp(); err != nil {
		return exitFailed, err
	}
	running, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	d.fail = fail

	ok, err := d.story(running, numbers)
	switch {
	case err != nil && ctx.Err() != nil:
		code, err = exitInterrupted, nil
		d.screen.line("interrupted before the end")
	case err != nil && running.Err() != nil:
		code, err = exitFailed, context.Cause(running) // what ended the run, not what noticed
	case err != nil || !ok:
		code = exitFailed
	}
	if stopErr := d.stop(); stopErr != nil {
		return exitFailed, errors.Join(err, stopErr)
	}
	return code, err
}

// checkPrograms returns an error when the programs have not been built.
func (d *demo) checkPrograms() error {
	names := []string{"jaeger", "topic-config", "otel-client"}
	for _, s := range d.services() {
		names = append(names, s.name)
	}
	for _, name := range names {
		if _, err := os.Stat(d.bin(name)); err != nil {
			return fmt.Errorf("bin/%s is missing: run `make build` first", name)
		}
	}
	return nil
}

// cleanUp removes what the run before this one has left.
func (d *demo) cleanUp() error {
	if err := os.RemoveAll(d.work); err != nil {
		return fmt.Errorf("remove what the last run left: %w", err)
	}
	if err := os.MkdirAll(d.logs(), 0o755); err != nil {
		return fmt.Errorf("make the folder of this run: %w", err)
	}
	return nil
}

// stop stops everything that was started, last started first.
func (d *demo) stop() error {
	d.screen.waiting("stopping everything")
	err := d.teardown.Run(stopTimeout)
	d.screen.line("%s", faint("everything is stopped; logs are in "+d.shown(d.logs())))
	return err
}

// until asks done every tenth of a second until it says yes. It shows the progress that done tells meanwhile, and an error of done:
// what is asked may be on its way back. It fails when the progress has been the same for as long as patience, and when ctx ends.
func (d *demo) until(ctx context.Context, patience time.Duration, done func(ctx context.Context, progress func(string)) (yes bool, err error)) error {
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	giveUp := time.AfterFunc(patience, cancel)
	defer giveUp.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	last, shown := "", ""
	progress := func(text string) {
		if text != last {
			giveUp.Reset(patience)
		}
		last, shown = text, text
		d.screen.waiting("%s", text)
	}
	for {
		yes, err := done(asking, progress)
		if err == nil && yes {
			return nil
		}
		if err != nil && asking.Err() == nil {
			shown = err.Error()
			d.screen.waiting("%s", shown)
		}
		select {
		case <-tick.C:
		case <-asking.Done():
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("gave up after %s without progress: %s", patience, shown)
		}
	}
}
