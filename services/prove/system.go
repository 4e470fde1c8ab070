package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"

	"fault-tolerant-tracing/services/internal/jaeger"
	"fault-tolerant-tracing/services/internal/local"
)

// host is where everything listens: a proof is for this machine only.
const host = "127.0.0.1"

// clients write spans of their own, of Jaeger's client and of OpenTelemetry's.
var clients = []string{"thrift-1", "thrift-2", "otlp-1", "otlp-2"}

// services are those that run from the beginning, in the order in which they are started.
var services = []string{"relay", "random", "answer", "sentence", "stream"}

// guests are relays that come and go.
var guests = []string{"relay-2", "relay-3"}

// ports are what everything listens on.
type ports struct {
	front, otlp, jaegerCollector, jaegerQuery int
	kafka, controllers                        []int          // of each node
	http                                      map[string]int // HTTP_ADDR of each service
}

// firstPort is below those that a system gives to outgoing connections, which could take one that is free for a moment.
const firstPort = 20_000

// freePorts returns ports that nothing listens on, with so many nodes of Kafka.
func freePorts(nodes int) (p ports, err error) {
	next := firstPort
	free := func() int {
		for ; next < 30_000; next++ {
			listener, err := net.Listen("tcp", addr(next))
			if err == nil {
				_ = listener.Close()
				next++
				return next - 1
			}
		}
		return 0
	}
	p = ports{front: free(), otlp: free(), jaegerCollector: free(), jaegerQuery: free(), http: map[string]int{}}
	for range nodes {
		p.kafka, p.controllers = append(p.kafka, free()), append(p.controllers, free())
	}
	for _, list := range [][]string{services, guests} {
		for _, name := range list {
			p.http[name] = free()
		}
	}
	if free() == 0 {
		return p, errors.New("there are no free ports")
	}
	return p, nil
}

func addr(port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

func addrs(ports []int) (list []string) {
	for _, port := range ports {
		list = append(list, addr(port))
	}
	return list
}

func (p *proof) brokers() []string { return addrs(p.ports.kafka) }

// start starts everything, and returns when all of it is ready. What ends before that ends the run.
func (p *proof) start(ctx context.Context, fail context.CancelCauseFunc) error {
	if err := p.prepare(fail, append([]string{"topic-config"}, services...)...); err != nil {
		return err
	}
	if err := p.prepareKafka(fail); err != nil {
		return err
	}
	for _, list := range [][]string{services, guests} {
		for _, name := range list {
			program := name
			if list[0] == guests[0] {
				program = "relay"
			}
			p.part(fail, name, p.launch(name, p.bin(program)))
		}
	}
	for _, name := range clients {
		p.part(fail, name, p.launch(name, p.self, "client", name, strings.Join(p.brokers(), ","), p.data("spool"), p.data("ledger"), strconv.Itoa(perSecond)))
	}
	for _, name := range append(p.nodes, "jaeger") {
		if err := p.parts[name].Start(ctx); err != nil {
			return err
		}
	}
	if err := until(ctx, p.kafkaAnswers); err != nil {
		return err
	}
	if err := p.makeTopics(ctx); err != nil {
		return err
	}
	for _, name := range append(services, clients...) {
		if err := p.parts[name].Start(ctx); err != nil {
			return err
		}
	}
	for _, name := range services {
		if err := p.ready(ctx, name); err != nil {
			return fmt.Errorf("start %s: %w", name, err)
		}
	}
	p.say("everything runs")
	return nil
}

// prepare makes what all else is about: Jaeger, and the proxy before it. programs are those that are needed besides.
func (p *proof) prepare(fail context.CancelCauseFunc, programs ...string) (err error) {
	for _, name := range append(programs, "jaeger") {
		if _, err := os.Stat(p.bin(name)); err != nil {
			return fmt.Errorf("bin/%s is missing: run `make build` first", name)
		}
	}
	if p.ports, err = freePorts(len(p.nodes)); err != nil {
		return err
	}
	p.jaeger = jaeger.New(jaeger.Options{
		Binary: p.bin("jaeger"), ConfigFile: p.root + "/deploy/jaeger/jaeger.yaml", UIDir: p.bin("jaeger-ui"),
		DataDir: p.data("jaeger"), LogFile: p.log("jaeger"),
		OTLPPort: p.ports.otlp, CollectorPort: p.ports.jaegerCollector, QueryPort: p.ports.jaegerQuery,
		Wrap: p.supervisor(),
	})
	p.query = jaeger.NewQuery(p.jaeger.QueryURL())
	front, stop, err := startFront(p.ports.front, p.jaeger.OTLPEndpoint())
	if err != nil {
		return err
	}
	p.front = front
	p.teardown.Add("front", stop)
	p.part(fail, "jaeger", func(ctx context.Context) (local.Process, error) {
		ctx, cancel := context.WithTimeout(ctx, startTimeout)
		defer cancel()
		return local.LaunchJaeger(ctx, p.jaeger, p.log("jaeger"))
	})
	return nil
}

func (p *proof) supervisor() []string { return []string{p.self, "supervise", "--"} }

// part is a program that is kept running once it is started, and is stopped with everything else.
func (p *proof) part(fail context.CancelCauseFunc, name string, launch func(context.Context) (local.Process, error)) {
	part := &local.Part{Name: name, Launch: launch, Tell: func(string, ...any) {}, Fatal: func(err error) bool {
		if !p.up.Load() {
			fail(err)
		}
		return !p.up.Load()
	}}
	p.parts[name] = part
	p.teardown.Add(name, part.Stop)
}

// launch starts a program with the settings of this run, and nothing of the environment that could change them.
func (p *proof) launch(name string, command ...string) func(context.Context) (local.Process, error) {
	return func(context.Context) (local.Process, error) {
		env := []string{
			"KAFKA_BROKERS=" + strings.Join(p.brokers(), ","),
			"TOPIC_REPLICATION=" + strconv.Itoa(len(p.nodes)),
			"TRACING_SPOOL_DIR=" + p.data("spool"),
			"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://" + addr(p.ports.front) + "/v1/traces",
			"RANDOM_URL=http://" + addr(p.ports.http["random"]),
			"HTTP_ADDR=" + addr(p.ports.http[name]),
			"SESSION_TIMEOUT=" + session.String(),
			"LOG_FORMAT=text",
		}
		for _, name := range []string{"PATH", "HOME", "TMPDIR", "JAVA_HOME"} {
			env = append(env, name+"="+os.Getenv(name))
		}
		return local.Start(p.supervisor(), name, p.log(name), env, command...)
	}
}

// prepareKafka makes the parts that Kafka is: the small broker, or the nodes of a cluster.
func (p *proof) prepareKafka(fail context.CancelCauseFunc) (err error) {
	if p.lag, err = newLag(p.brokers()); err != nil {
		return err
	}
	if p.jars == "" {
		p.node(fail, p.nodes[0], func(advertised string) []string {
			return []string{p.self, "broker", p.brokers()[0], p.data("kafka"), advertised}
		})
		return nil
	}
	for i, name := range p.nodes {
		node := local.KafkaNode{
			Java: local.Java(p.jars, "384m"), Dir: p.data(name), ID: i + 1, Addr: p.brokers()[i], Voters: addrs(p.ports.controllers),
		}
		if err := node.Prepare(); err != nil {
			return err
		}
		p.node(fail, name, func(advertised string) []string { return node.Command("advertised.listeners=PLAIN://" + advertised) })
	}
	return nil
}

// node is a part of Kafka, which a command runs that is told the address which that tells its clients.
func (p *proof) node(fail context.CancelCauseFunc, name string, command func(advertised string) []string) {
	p.part(fail, name, func(ctx context.Context) (local.Process, error) {
		advertised := p.brokers()[slices.Index(p.nodes, name)]
		if wrong := p.misadvertised.Load(); wrong != nil && *wrong == name {
			advertised = nowhere
		}
		return p.launch(name, command(advertised)...)(ctx)
	})
}

// kafkaAnswers asks, in the form that until wants, whether all nodes of Kafka know each other.
func (p *proof) kafkaAnswers(ctx context.Context) (string, bool) {
	brokers, err := p.lag.admin.ListBrokers(ctx)
	return fmt.Sprintf("%d nodes of Kafka are there: %v", len(brokers), err), err == nil && len(brokers) == len(p.nodes)
}

// makeTopics has topic-config make them.
func (p *proof) makeTopics(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	process, err := p.launch("topic-config", p.bin("topic-config"))(ctx)
	if err != nil {
		return err
	}
	p.teardown.Add("topic-config", process.Stop)
	return process.(*local.Child).Wait(ctx)
}

// ready waits until a service answers that it is.
func (p *proof) ready(ctx context.Context, name string) error {
	return until(ctx, func(ctx context.Context) (string, bool) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr(p.ports.http[name])+"/readyz", nil)
		if err != nil {
			return err.Error(), false
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return "it does not answer", false
		}
		defer resp.Body.Close()
		return resp.Status, resp.StatusCode == http.StatusOK
	})
}
