package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fault-tolerant-tracing/services/internal/service"
)

const (
	// contrastRate is how many traces a second each client makes: 100 spans.
	contrastRate = 25
	// still is how long nothing may come before that counts as the end of it, at least: the first wait of who tries again is 7.5 s at most.
	still = 8 * time.Second
	// stuck is how much longer that has to be before somebody starts anew what should carry the spans that wait on tracing-topic: it has
	// had time to be started by itself and for the session of its former life to end.
	stuck = 2 * session
	// settled is how long nothing may come at the end: the longest wait between tries of the Collector and of the SDK.
	settled = 45 * time.Second
)

// carrier is the part that carries spans from tracing-topic to Jaeger.
const carrier = "carrier"

// way is one of carrying spans to Jaeger.
type way struct {
	Name    string   `json:"name"`
	group   string   // of consumers, by which the carrier reads; "": the clients send straight to Jaeger
	clients []string // the first word of each is the kind
	command func(p *proof) []string
}

// ways are in the order of the table.
var ways = []way{
	{"relay", "tracing-relay", []string{"otlp-1", "otlp-2"}, func(p *proof) []string { return []string{p.bin("relay")} }},
	{"Collector, defaults", "collector", []string{"otlp-1", "otlp-2"}, collectorWith("collector.yaml")},
	{"Collector, careful", "collector", []string{"otlp-1", "otlp-2"}, collectorWith("collector.yaml", "careful.yaml")},
	{"direct", "", []string{"direct-1", "direct-2"}, nil},
}

// collectorWith runs bin/jaeger, which is an OpenTelemetry Collector too.
func collectorWith(files ...string) func(p *proof) []string {
	return func(p *proof) []string {
		command := []string{p.bin("jaeger")}
		for _, file := range files {
			command = append(command, "--config", filepath.Join(p.root, "services", "prove", file))
		}
		return command
	}
}

// contrastFault is a fault that means the same for each way that has what it is on.
type contrastFault struct {
	fault
	still time.Duration // in the place of the constant, if it is longer
}

// contrastFaults are in an order that the seed decides. Poison comes last, as a carrier may stop at it for good.
func contrastFaults(nodes, clients []string, seed uint64) []contrastFault {
	jaeger := []string{"jaeger"}
	list := []contrastFault{
		{fault{"Jaeger stopped", "jaeger", 3 * time.Second, stopped(jaeger...)}, 0},
		{fault{"Jaeger stopped for long", "jaeger", 40 * time.Second, stopped(jaeger...)}, 0},
		{fault{"Jaeger killed", "jaeger", 3 * time.Second, killed(jaeger...)}, 0},
		{fault{"Jaeger frozen", "jaeger", 3 * time.Second, frozen(jaeger...)}, 0},
		{fault{"answers up to 3 s late", "answers", 4 * time.Second, answering(slow)}, 0},
		{fault{"every other answer a 500", "answers", 3 * time.Second, answering(halfOf(status(http.StatusInternalServerError)))}, 0},
		{fault{"every other answer a 429", "answers", 3 * time.Second, answering(halfOf(status(http.StatusTooManyRequests, "Retry-After", "1")))}, 0},
		{fault{"every other answer a 400", "answers", 3 * time.Second, answering(halfOf(status(http.StatusBadRequest)))}, 0},
		{fault{"every other answer a 403", "answers", 3 * time.Second, answering(halfOf(status(http.StatusForbidden)))}, 0},
		{fault{"redirects", "answers", 3 * time.Second, answering(always(status(http.StatusFound, "Location", "/login")))}, 0},
		{fault{"a web page with 200", "answers", 3 * time.Second, answering(always(status(http.StatusOK, "Content-Type", "text/html")))}, 0},
		{fault{"connections closed before the answer", "answers", 3 * time.Second, answering(cut)}, 0},
		{fault{"no answer ever", "answers", 4 * time.Second, answering(always(never))}, 40 * time.Second}, // the Collector waits 30 s for one
		{fault{"every other answer a 200 that breaks off, nothing stored", "answers", 3 * time.Second, answering(halfOf(lie))}, 0},
		{fault{"carrier killed", carrier, 3 * time.Second, killed(carrier)}, 0},
		{fault{"carrier frozen beyond its session", carrier, session + 3*time.Second, frozen(carrier)}, 0},
		{fault{"carrier killed while Jaeger is away", carrier, 8 * time.Second, without(jaeger, 5*time.Second, []string{carrier})}, 0},
		{fault{"Kafka stopped", "kafka", 3 * time.Second, stopped(nodes...)}, 0},
		{fault{"Kafka killed", "kafka", 3 * time.Second, killed(nodes...)}, 0},
		{fault{"Kafka frozen", "kafka", 3 * time.Second, frozen(nodes...)}, 0},
		{fault{"Kafka says that it is where nobody reaches it", "kafka", 5 * time.Second, oneOf(nodes, misadvertised)}, 40 * time.Second}, // librdkafka asks where it began after 25 s
		{fault{"clients killed", "clients", 3 * time.Second, killed(clients...)}, 0},
		{fault{"clients killed while Jaeger is away", "clients", 10 * time.Second, without(jaeger, 8*time.Second, clients)}, 0},
		{fault{"poison on tracing-topic", "kafka", 3 * time.Second, writing(spanPoison, tracingTopic)}, 0},
	}
	some := list[:len(list)-1]
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
	return list
}

// meets tells whether there is for a way what a fault is on.
func (w *way) meets(f contrastFault) bool { return w.group != "" || f.on != carrier && f.on != "kafka" }

// contrast is the runs of all ways.
type contrast struct {
	self, root, work string
	seed             uint64
	duration         time.Duration // of the faults of each way
	out              io.Writer
}

func contrastCommand() *cobra.Command {
	var seed uint64
	duration := 3 * time.Minute
	cmd := &cobra.Command{
		Use:   "contrast",
		Short: "Run the same faults for other ways to carry spans, and say what each loses",
		Long: `Carry the spans of two OpenTelemetry clients to Jaeger in four ways, one after the other: by
Kafka and the relay, by Kafka and an OpenTelemetry Collector (bin/jaeger) with its defaults
and with careful settings, and straight from the SDK's own exporter. The same faults happen
to each, one at a time, in an order that the seed decides.

It prints a table of what each has lost, and leaves it in .prove/, as contrast.md and
contrast.json. Exit code 0 unless the relay lost something or something did not work.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("seed") {
				seed = rand.Uint64N(1_000_000)
			}
			self, root, err := repository()
			if err != nil {
				return err
			}
			c := &contrast{self: self, root: root, work: filepath.Join(root, ".prove"), seed: seed, duration: duration, out: os.Stdout}
			return c.run(cmd.Context())
		},
	}
	cmd.Flags().Uint64Var(&seed, "seed", 0, "decides the order of the faults and all that is random in them; default a new one")
	cmd.Flags().DurationVar(&duration, "duration", duration, "how long faults go on, for each way")
	return cmd
}

// run runs all ways and returns an error if the relay has lost anything.
func (c *contrast) run(ctx context.Context) error {
	began := time.Now()
	result := &contrastResult{Version: service.Version, Seed: c.seed, Duration: c.duration.String()}
	for i, w := range ways {
		work := filepath.Join(c.work, "contrast", strconv.Itoa(i+1))
		t := &trip{proof: newProof(c.self, c.root, work, "", c.seed, c.duration), way: w}
		t.out, t.began = c.out, began
		t.say("%s: seed %d, faults for %s; everything is in %s", w.Name, c.seed, c.duration, work)
		if err := t.within(ctx, t.travel); err != nil {
			return fmt.Errorf("%s: %w", w.Name, err)
		}
		result.add(t)
	}
	result.Took = time.Since(began).Round(time.Second).String()
	return result.tell(c.out, c.work)
}

// trip is the run of one way.
type trip struct {
	*proof
	way
	census *census
	tally  []tally  // of each phase
	byHand []string // the phases behind which the carrier was started anew by hand
}

// travel lets the faults happen and counts what was lost.
func (t *trip) travel(ctx context.Context, fail context.CancelCauseFunc) error {
	faults := contrastFaults(t.nodes, t.clients, t.seed)
	extra, err := spare(faults, t.duration)
	if err != nil {
		return err
	}
	if err := t.start(ctx, fail); err != nil {
		return err
	}
	t.up.Store(true)
	now := t.phase("no fault")
	if err := t.last(ctx, 5*time.Second); err != nil {
		return err
	}
	left, err := t.arrive(ctx, now.began, time.Now(), startTimeout)
	if err != nil {
		return err
	}
	if left > 0 {
		return fmt.Errorf("%d spans have not come though nothing was done to them", left)
	}
	for i, f := range faults {
		if !t.meets(f) {
			continue
		}
		now, err := t.inflict(ctx, f.least+extra, uint64(i), f.name, f.fault)
		if err != nil {
			return err
		}
		if err := t.pass(ctx, now, max(still, f.still, now.lasted)); err != nil {
			return fmt.Errorf("after %s: %w", f.name, err)
		}
	}
	t.phase("afterwards")
	if err := t.last(ctx, 5*time.Second); err != nil {
		return err
	}
	for _, name := range t.clients {
		if err := t.parts[name].Stop(ctx); err != nil {
			return err
		}
	}
	return t.settle(ctx)
}

// spare is how much longer than at least each fault lasts.
func spare(faults []contrastFault, duration time.Duration) (time.Duration, error) {
	least := time.Duration(0)
	for _, f := range faults {
		least += f.least
	}
	if duration < least {
		return 0, fmt.Errorf("--duration %s: want at least %s", duration, least)
	}
	return (duration - least) / time.Duration(len(faults)), nil
}

// start starts all that there is in this way.
func (t *trip) start(ctx context.Context, fail context.CancelCauseFunc) error {
	if err := t.prepare(fail, "relay"); err != nil {
		return err
	}
	t.census = &census{dir: t.data("ledger"), query: t.query}
	parts := []string{"jaeger"}
	brokers := ""
	if t.group != "" {
		if err := t.prepareKafka(fail); err != nil {
			return err
		}
		t.part(fail, carrier, t.launch(carrier, t.command(t.proof)...))
		if err := t.startKafka(ctx); err != nil {
			return err
		}
		parts = append(parts, carrier)
		brokers = strings.Join(t.brokers(), ",")
	}
	for _, name := range t.clients {
		t.part(fail, name, t.launch(name, t.self, "client", name, brokers, "", t.data("ledger"), strconv.Itoa(contrastRate)))
	}
	for _, name := range append(parts, t.clients...) {
		if err := t.parts[name].Start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// startKafka starts Kafka and makes the topics, of which nobody has written a record: topic-config's is not for a Collector.
func (t *trip) startKafka(ctx context.Context) error {
	if err := t.parts[t.nodes[0]].Start(ctx); err != nil {
		return err
	}
	if err := until(ctx, t.kafkaAnswers); err != nil {
		return err
	}
	for topic, partitions := range map[string]int32{tracingTopic: 6, deadTopic: 1} {
		if _, err := t.lag.admin.CreateTopic(ctx, partitions, 1, nil, topic); err != nil {
			return fmt.Errorf("make %s: %w", topic, err)
		}
	}
	return nil
}

// pass waits until the spans of a phase are in Jaeger or nothing comes any more. If some wait on tracing-topic then the carrier is started
// anew, once, as somebody would who looks after it.
func (t *trip) pass(ctx context.Context, now *phase, still time.Duration) error {
	ended := now.began.Add(now.lasted)
	left, err := t.arrive(ctx, now.began, ended, still)
	if err != nil || left == 0 {
		return err
	}
	if waits, err := t.waits(ctx, now.began, ended); err != nil || waits == 0 {
		return err
	}
	if left, err = t.arrive(ctx, now.began, ended, stuck); err != nil || left == 0 {
		return err
	}
	if waits, err := t.waits(ctx, now.began, ended); err != nil || waits == 0 {
		return err
	}
	t.say("… nothing comes any more, and spans wait on tracing-topic: the carrier is started anew")
	t.byHand = append(t.byHand, now.name)
	if err := t.stop(carrier); err != nil {
		return err
	}
	if err := t.parts[carrier].Start(t.running); err != nil {
		return err
	}
	_, err = t.arrive(ctx, now.began, ended, still)
	return err
}

// arrive waits until the spans that ended between two times are in Jaeger, or none of them has come for so long, and returns how many are
// not.
func (t *trip) arrive(ctx context.Context, from, to time.Time, still time.Duration) (left int, err error) {
	began := time.Now()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for changed := began; ; {
		select { // before the first look, too: a client that lives on has said so by then
		case <-tick.C:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
		missing, err := t.census.missing(ctx, from, to)
		switch {
		case ctx.Err() != nil:
			return 0, context.Cause(ctx)
		case err == nil && len(missing) == 0:
			t.say("… all has come after %.1f s", time.Since(began).Seconds())
			return 0, nil
		case err == nil && len(missing) != left:
			left, changed = len(missing), time.Now()
		case time.Since(changed) > still && err != nil:
			return 0, err
		case time.Since(changed) > still:
			t.say("… %d spans have not come, and none came for %s", left, still.Round(time.Second))
			return left, nil
		}
	}
}

// waits returns how many of the spans that ended between two times wait on tracing-topic.
func (t *trip) waits(ctx context.Context, from, to time.Time) (n int, err error) {
	if t.group == "" {
		return 0, nil
	}
	missing, err := t.census.missing(ctx, from, to)
	if err != nil {
		return 0, err
	}
	waits, err := waiting(ctx, t.lag.admin, t.brokers(), t.group)
	for _, s := range missing {
		if waits[s] {
			n++
		}
	}
	return n, err
}

// settle waits until all is in Jaeger, or nothing comes any more, and counts.
func (t *trip) settle(ctx context.Context) error {
	_, err := t.arrive(ctx, t.began, time.Now(), settled)
	if err != nil {
		return err
	}
	var waits map[clientSpan]bool
	if t.group != "" {
		if waits, err = waiting(ctx, t.lag.admin, t.brokers(), t.group); err != nil {
			return err
		}
	}
	t.tally = t.census.count(len(t.phases), t.phaseAt, waits)
	return nil
}
