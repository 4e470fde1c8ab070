package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/procfs"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// storeLimit is how large a file of Jaeger's store may become while that cannot grow, in bytes: its next log would be larger (128 MiB), the
// tables that it compacts are not. Where they are, badger 4.8.0 takes a compaction that has failed for one that is done (levels.go, subcompact:
// the error of CreateTable comes to nobody) and deletes what it was made of: what Jaeger had stored is gone.
const storeLimit = 100 << 20

// scarcities are the faults by limits of a process.
func scarcities() []fault {
	return []fault{
		{"Jaeger's store cannot grow", "jaeger tracing-topic", 4 * time.Second,
			atOnce(limited("jaeger", unix.RLIMIT_FSIZE, func(int) uint64 { return storeLimit }), writing(someLarge, tracingTopic))},
		{"relay with little memory", "relay answers tracing-topic", 5 * time.Second,
			atOnce(limited("relay", unix.RLIMIT_DATA, dataOf), answering(always(status(http.StatusServiceUnavailable))), writing(someLarge, tracingTopic))},
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

// atOnce does several things, of which one at most throws dice.
func atOnce(things ...func(context.Context, *proof, *rand.Rand) error) func(context.Context, *proof, *rand.Rand) error {
	return func(ctx context.Context, p *proof, r *rand.Rand) error {
		var happening errgroup.Group
		for _, do := range things {
			happening.Go(func() error { return do(ctx, p, r) })
		}
		return happening.Wait()
	}
}

// limited lowers a limit of a part, whatever process it is.
func limited(name string, resource int, most func(pid int) uint64) func(context.Context, *proof, *rand.Rand) error {
	return func(ctx context.Context, p *proof, _ *rand.Rand) error {
		for limited := 0; wait(ctx, 100*time.Millisecond); {
			if pid, err := p.parts[name].PID(); err == nil && pid != limited {
				lift, err := limit(pid, resource, most(pid))
				if err != nil {
					continue // it has just ended
				}
				defer lift()
				limited = pid
			}
		}
		return nil
	}
}

// dataOf is how much memory a process has that counts for RLIMIT_DATA, in bytes.
func dataOf(pid int) uint64 {
	process, err := procfs.NewProc(pid)
	if err != nil {
		return 0
	}
	status, err := process.NewStatus()
	if err != nil {
		return 0
	}
	return status.VmData
}

// someLarge are records of which some are large.
func someLarge(r *rand.Rand) *kgo.Record {
	if r.IntN(4) == 0 {
		return &kgo.Record{Value: large(r)}
	}
	return &kgo.Record{Value: anyBatch(r)}
}

// large is a record of 400 kB that Jaeger's store makes 8 MB of: it writes what describes the process with each span, and once more to find it by.
func large(r *rand.Rand) []byte {
	traces := otlpTraces(r)
	resource := traces.ResourceSpans().At(0)
	for i := range 8 {
		resource.Resource().Attributes().PutStr(fmt.Sprint("large", i), strings.Repeat("x", 50_000))
	}
	spans := resource.ScopeSpans().At(0).Spans()
	for i := spans.Len(); i < 10; i++ {
		span := spans.AppendEmpty()
		spans.At(0).CopyTo(span)
		span.SetSpanID([8]byte(noise(r, 8)))
	}
	value, _ := (&ptrace.ProtoMarshaler{}).MarshalTraces(traces) // it does not fail
	return value
}
