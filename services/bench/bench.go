package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"
)

// Backlogs keep a measurement running for 5 to 15 seconds on two cores.
var (
	spans9   = backlog{topic: "spans-9", size: 9, spans: 1_500_000, encode: asThrift}
	many9    = backlog{topic: "spans-9-many", size: 9, spans: 1_500_000, encode: asThrift, processes: 1000 / clients}
	apart9   = backlog{topic: "spans-9-apart", size: 9, spans: 1_500_000, encode: asThrift, processes: math.MaxUint64}
	spans100 = backlog{topic: "spans-100", size: 100, spans: 2_000_000, encode: asThrift}
	long9    = backlog{topic: "spans-9-long", size: 9, spans: 9_000_000, encode: asThrift} // a million batches, for a collector that does nothing
	long100  = backlog{topic: "spans-100-long", size: 100, spans: 12_000_000, encode: asThrift}
	otlp9    = backlog{topic: "otlp-9", size: 9, spans: 1_500_000, encode: asOTLP}
	longOTLP = backlog{topic: "otlp-100-long", size: 100, spans: 12_000_000, encode: asOTLP}
	otlp100  = backlog{topic: "otlp-100", size: 100, spans: 3_000_000, encode: asOTLP}
)

// measurement is one line of the table.
type measurement struct {
	name    string // for --only
	label   string
	size    int // spans in a batch
	kind    kind
	backlog *backlog // nil: none
	run     func(ctx context.Context) (result, error)
}

// program is a relay to be measured.
type program struct {
	path string
	note string // in names and tables; bin/relay has none
}

// kind says which ratios a measurement is part of.
type kind int

const (
	posting kind = iota
	relaying
	relayingBeside // by the program of another commit
	ingesting
	ingestingAfter
	ceiling
)

// trial is measured once, behind the rounds, and has a table of its own.
type trial struct {
	name string // for --only
	run  func(ctx context.Context, by program) (table, error)
}

// bench is one run of the benchmark.
type bench struct {
	root     string    // of the repository
	work     string    // for logs and data
	jars     string    // of Apache Kafka
	programs []program // bin/relay first
	rounds   int
	only     *regexp.Regexp
	profiles string // folder for profiles of the relay; empty: none
	progress io.Writer

	kafka  *broker
	groups int // of ingesters so far
	topics int // of trials so far
}

// measurements are in the order of the table, and of each round.
func (b *bench) measurements() (all []measurement) {
	for _, s := range []struct {
		size, name int
		relay      *backlog
		ingester   *backlog
	}{{size: 9, relay: &spans9, ingester: &otlp9}, {size: 100, relay: &spans100, ingester: &otlp100}} {
		for _, connections := range []int{1, 4, 16} {
			all = append(all, measurement{
				name: fmt.Sprintf("direct-%d-%d", s.size, connections), label: fmt.Sprintf("direct post, connections: %d", connections), size: s.size, kind: posting,
				run: func(ctx context.Context) (result, error) { return b.direct(ctx, s.size, connections) },
			})
		}
		for i, by := range b.programs {
			all = append(all, measurement{
				name: fmt.Sprintf("relay-%d", s.size) + by.note, label: "relay" + by.note, size: s.size, kind: []kind{relaying, relayingBeside}[i], backlog: s.relay,
				run: func(ctx context.Context) (result, error) { return b.relays(ctx, by, 1, *s.relay, b.startCollector) },
			})
		}
		all = append(all, measurement{
			name: fmt.Sprintf("ingester-%d", s.size), label: "Jaeger's ingester, marks before storing (its default)", size: s.size, kind: ingesting, backlog: s.ingester,
			run: func(ctx context.Context) (result, error) { return b.ingester(ctx, *s.ingester, false) },
		}, measurement{
			name: fmt.Sprintf("ingester-after-%d", s.size), label: "Jaeger's ingester, marks after storing", size: s.size, kind: ingestingAfter, backlog: s.ingester,
			run: func(ctx context.Context) (result, error) { return b.ingester(ctx, *s.ingester, true) },
		})
	}
	for _, m := range []measurement{
		{name: "relay-9-many", label: fmt.Sprintf("relay, %d processes", many9.processes*clients), size: 9, backlog: &many9},
		{name: "relay-9-apart", label: "relay, each batch of a process of its own", size: 9, backlog: &apart9},
		{name: "relay-otlp-9", label: "relay, records of otlp_proto", size: 9, backlog: &otlp9},
		{name: "relay-otlp-100", label: "relay, records of otlp_proto", size: 100, backlog: &otlp100},
	} {
		m.kind = relayingBeside
		m.run = func(ctx context.Context) (result, error) {
			return b.relays(ctx, b.programs[0], 1, *m.backlog, b.startCollector)
		}
		all = append(all, m)
	}
	all = append(all, measurement{
		name: "ceiling-otlp-100-1", label: "relays: 1, records of otlp_proto", size: 100, kind: ceiling, backlog: &longOTLP,
		run: func(ctx context.Context) (result, error) {
			return b.relays(ctx, b.programs[0], 1, longOTLP, b.startSink)
		},
	})
	for _, from := range []*backlog{&long9, &long100} {
		for _, relays := range []int{1, 2, 4} {
			for _, by := range b.programs {
				all = append(all, measurement{
					name: fmt.Sprintf("ceiling-%d-%d", from.size, relays) + by.note, label: fmt.Sprintf("relays: %d", relays) + by.note, size: from.size, kind: ceiling, backlog: from,
					run: func(ctx context.Context) (result, error) { return b.relays(ctx, by, relays, *from, b.startSink) },
				})
			}
		}
	}
	return all
}

func (b *bench) trials() []trial {
	all := []trial{{name: "latency", run: b.latency}, {name: "recovery", run: b.recovery}}
	for _, s := range scenarios() {
		all = append(all, trial{name: "poison-" + s.name, run: func(ctx context.Context, by program) (table, error) { return b.poison(ctx, by, s) }})
	}
	return all
}

// run measures and returns the results of each measurement that was wanted, one
// for each round, and the tables of the trials that were.
func (b *bench) run(ctx context.Context) (done []series, tables []table, err error) {
	trials := slices.DeleteFunc(b.trials(), func(t trial) bool { return !b.only.MatchString(t.name) })
	for _, m := range b.measurements() {
		if b.only.MatchString(m.name) {
			done = append(done, series{measurement: m})
		}
	}
	if len(done)+len(trials) == 0 {
		return nil, nil, fmt.Errorf("no measurement is named %s", b.only)
	}
	if err := b.prepare(); err != nil {
		return nil, nil, err
	}
	b.say("starting Apache Kafka %s", kafkaVersion(b.jars))
	if b.kafka, err = startKafka(ctx, b.jars, b.work); err != nil {
		return nil, nil, err
	}
	defer b.end()
	if err := b.fill(ctx, done); err != nil {
		return nil, nil, err
	}
	if err := b.measure(ctx, done); err != nil {
		return nil, nil, err
	}
	for _, t := range trials {
		for _, by := range b.programs {
			begin := time.Now()
			rows, err := t.run(ctx, by)
			if err != nil {
				return nil, nil, fmt.Errorf("%s%s: %w", t.name, by.note, err)
			}
			tables = appendTable(tables, rows)
			b.say("%s%s: measured in %s", t.name, by.note, time.Since(begin).Round(time.Second))
		}
	}
	return done, tables, nil
}

// newTopic makes a topic that no trial has used, and returns its name.
func (b *bench) newTopic(ctx context.Context, name string, partitions int32) (string, error) {
	b.topics++
	name = fmt.Sprintf("%s-%d", name, b.topics)
	return name, b.kafka.createTopic(ctx, name, partitions)
}

// measure fills in the results, one for each round.
func (b *bench) measure(ctx context.Context, done []series) error {
	for round := range b.rounds {
		for i := range done {
			s := &done[i]
			r, err := s.run(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			s.results = append(s.results, r)
			b.say("round %d of %d: %-20s %9.0f spans/s, %4.1f s, %.1f cores used by others", round+1, b.rounds, s.name, r.rate(), r.took.Seconds(), r.others())
		}
	}
	return nil
}

// prepare empties the folder for logs and data.
func (b *bench) prepare() error {
	if err := os.RemoveAll(b.work); err != nil {
		return err
	}
	if b.profiles != "" {
		if err := os.MkdirAll(b.profiles, 0o755); err != nil {
			return err
		}
	}
	return os.MkdirAll(b.work, 0o755)
}

// fill makes the topics and fills those that will be read.
func (b *bench) fill(ctx context.Context, wanted []series) error {
	if err := b.kafka.createTopic(ctx, deadLetter, 1); err != nil {
		return err
	}
	filled := map[string]bool{}
	for _, s := range wanted {
		if s.backlog == nil || filled[s.backlog.topic] {
			continue
		}
		filled[s.backlog.topic] = true
		begin := time.Now()
		if err := b.kafka.preload(ctx, *s.backlog); err != nil {
			return err
		}
		b.say("%s: %d spans in records of %d, written in %s", s.backlog.topic, s.backlog.total(), s.backlog.size, time.Since(begin).Round(100*time.Millisecond))
	}
	syscall.Sync() // or it would be done while the first measurements run
	return nil
}

// end stops the broker and removes its data; the logs stay.
func (b *bench) end() {
	b.kafka.stop()
	_ = os.RemoveAll(filepath.Join(b.work, "kafka")) // the next run removes it
}

func (b *bench) say(format string, args ...any) { fmt.Fprintf(b.progress, format+"\n", args...) }
