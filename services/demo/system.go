package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"fault-tolerant-tracing/services/internal/jaeger"
	"fault-tolerant-tracing/services/internal/local"
	"fault-tolerant-tracing/tracing"
)

// startTimeout is how long each part of the system may take to be ready. All take seconds; a busy machine takes longer.
const startTimeout = 90 * time.Second

// program is one of the long-running services.
type program struct {
	name string
	port int // HTTP_ADDR
}

// services returns the programs in the order in which they are started. They are stopped the other way round: those that write
// spans first, then the relay.
func (d *demo) services() []program {
	list := []program{{"random", d.ports.Random}, {"answer", d.ports.Answer}, {"sentence", d.ports.Sentence}, {"stream", d.ports.Stream}}
	if d.withRelay() {
		list = append([]program{{"console", d.ports.Console}, {"relay", d.ports.Relay}}, list...)
	}
	return list
}

// start starts everything, and returns when all of it is ready.
func (d *demo) start(ctx context.Context) error {
	if names := ignored(os.Environ()); len(names) > 0 {
		d.screen.line("not heeded here, where everything has its settings: %s", strings.Join(names, ", "))
	}
	if err := d.startKafka(ctx); err != nil {
		return err
	}
	d.screen.line("Kafka         %s, data in %s", d.brokers()[0], d.shown(d.data("kafka")))
	d.screen.waiting("Jaeger is starting")
	if err := d.startJaeger(ctx); err != nil {
		return err
	}
	d.screen.line("Jaeger        %s", httpURL(d.ports.JaegerQuery))
	d.screen.waiting("topic-config makes the topics")
	if err := d.runToItsEnd(ctx, "topic-config"); err != nil {
		return err
	}
	d.screen.line("topic-config  has made the topics")

	var names []string
	for _, s := range d.services() {
		if err := d.startService(ctx, s); err != nil {
			return err
		}
		names = append(names, s.name)
	}
	for _, s := range d.services() {
		if err := d.until(ctx, startTimeout, s.ready); err != nil {
			return fmt.Errorf("start %s: %w (its log is %s)", s.name, err, d.shown(d.log(s.name)))
		}
	}
	d.screen.line("services      %s are ready", strings.Join(names, ", "))
	return nil
}

// keep starts a part, which is stopped with everything else.
func (d *demo) keep(ctx context.Context, name string, launch func(context.Context) (local.Process, error)) error {
	p := &local.Part{Name: name, Launch: launch, Tell: d.screen.line, Fatal: func(err error) bool {
		if !d.up.Load() {
			d.fail(err)
		}
		return !d.up.Load()
	}}
	if err := p.Start(ctx); err != nil {
		return err
	}
	d.mu.Lock()
	d.running = append(d.running, p)
	d.mu.Unlock()
	d.teardown.Add(name, p.Stop)
	return nil
}

// launchJaeger starts Jaeger with the traces it has, and returns when it answers.
func (d *demo) launchJaeger(ctx context.Context) (local.Process, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return local.LaunchJaeger(ctx, d.jaeger, d.log("jaeger"))
}

func (d *demo) startJaeger(ctx context.Context) error {
	d.jaeger = jaeger.New(jaeger.Options{
		Binary:        d.bin("jaeger"),
		ConfigFile:    d.root + "/deploy/jaeger/jaeger.yaml",
		UIDir:         d.bin("jaeger-ui"),
		DataDir:       d.data("jaeger"),
		LogFile:       d.log("jaeger"),
		OTLPPort:      d.ports.OTLP,
		CollectorPort: d.ports.JaegerCollector,
		QueryPort:     d.ports.JaegerQuery,
		Wrap:          d.supervisor,
	})
	d.query = jaeger.NewQuery(d.jaeger.QueryURL())
	return d.keep(ctx, "jaeger", d.launchJaeger)
}

// runOpenTelemetry runs the OpenTelemetry client, if its spans can be delivered, and returns when Kafka has them.
func (d *demo) runOpenTelemetry(ctx context.Context) error {
	if !d.withOpenTelemetry() {
		return nil
	}
	return d.runToItsEnd(ctx, "otel-client")
}

// runToItsEnd runs a program that ends by itself.
func (d *demo) runToItsEnd(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	c, err := d.startChild(name, name, 0)
	if err != nil {
		return err
	}
	d.teardown.Add(name, c.Stop)
	return c.Wait(ctx)
}

// startService starts a service, and returns before it is ready.
func (d *demo) startService(ctx context.Context, s program) error {
	return d.keep(ctx, s.name, func(context.Context) (local.Process, error) { return d.startChild(s.name, s.name, s.port) })
}

// passedOn are the variables of the environment that our programs see.
var passedOn = []string{"PATH", "HOME", "TMPDIR", "LOG_LEVEL"}

// setting matches the names of all settings that our programs have elsewhere.
var setting = regexp.MustCompile(`^(KAFKA|TRACING|JAEGER|OTEL|TOPIC|NUMBER|EVEN|ODD|SENTENCE|ANSWER|DLQ)_` +
	`|^(HTTP_ADDR|RANDOM_URL|MAX_SPANS_PER_SECOND|RELAY_ACK|SESSION_TIMEOUT|GROUP_INSTANCE_ID|SHUTDOWN_TIMEOUT|LOG_FORMAT)$`)

// ignored names the settings in the environment that the programs do not see.
func ignored(environ []string) (names []string) {
	for _, variable := range environ {
		if name, _, _ := strings.Cut(variable, "="); setting.MatchString(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// environment returns what our programs see of the demo's own.
func environment() (env []string) {
	for _, name := range passedOn {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// startChild starts one of our programs with the settings of this run and nothing of the environment that could change them. name is
// that of its log.
func (d *demo) startChild(name, program string, port int, args ...string) (*local.Child, error) {
	env := append(environment(),
		"KAFKA_BROKERS="+d.brokers()[0],
		"TRACING_TRANSPORT="+string(d.transport),
		"TRACING_SPOOL_DIR="+d.data("spool"),
		"RANDOM_URL=http://"+addr(d.ports.Random),
		"LOG_FORMAT=text",
	)
	if program == "console" {
		env = append(env, "CONTROL_SOCKET="+d.socket(), "RELAY_URL=http://"+addr(d.ports.Relay), "JAEGER_QUERY_URL="+d.jaeger.QueryURL(),
			"JAEGER_UI_URL="+httpURL(d.ports.JaegerQuery))
	}
	if d.transport == tracing.Direct || d.collector == thrift {
		env = append(env, "JAEGER_ENDPOINT="+d.jaeger.Endpoint())
	} else {
		env = append(env, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="+d.jaeger.OTLPEndpoint())
	}
	if port != 0 {
		env = append(env, "HTTP_ADDR="+addr(port))
	}
	return local.Start(d.supervisor, name, d.log(name), env, append([]string{d.bin(program)}, args...)...)
}

// ready asks the service whether it is, in the form that until wants.
func (p program) ready(ctx context.Context, progress func(string)) (bool, error) {
	progress(p.name + " is starting")
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr(p.port)+"/readyz", nil)
	if err != nil {
		return false, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false, nil // it does not listen yet; if it has ended, that is noticed elsewhere
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK, nil
}

// stopJaeger takes Jaeger away, in order: what it has answered for is kept.
func (d *demo) stopJaeger(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, local.StopGrace)
	defer cancel()
	return d.part("jaeger").Stop(ctx)
}

// parts returns what is kept running.
func (d *demo) parts() []*local.Part {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.running)
}

// part returns the part with a name; nil: there is none.
func (d *demo) part(name string) *local.Part {
	for _, p := range d.parts() {
		if p.Name == name {
			return p
		}
	}
	return nil
}
