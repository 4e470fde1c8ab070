package systemtest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"fault-tolerant-tracing/services/internal/jaeger"
	"fault-tolerant-tracing/services/internal/verdict"
	"fault-tolerant-tracing/tracing/tracingtest"
)

const (
	patience = 90 * time.Second // only a failing test waits so long
	poll     = 50 * time.Millisecond

	shutdownTimeout = 8 * time.Second // the default of SHUTDOWN_TIMEOUT
)

var programs = []string{"topic-config", "random", "stream", "sentence", "answer", "relay"}

// besides are programs that are no part of every system.
var besides = []string{"console", "otel-client", "connect-config", "smoke"}

// binDir holds the programs under test, built with the race detector.
var binDir string

func TestMain(m *testing.M) {
	if err := build(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	tracingtest.VerifyMain(m)
}

// build makes the programs; the linker's work is kept for the next run.
func build() error {
	module, err := filepath.Abs("..")
	if err != nil {
		return err
	}
	binDir = filepath.Join(module, "..", "bin", "race")
	args := []string{"build", "-race", "-o", binDir + string(filepath.Separator)}
	for _, name := range slices.Concat(programs, besides) {
		args = append(args, "./"+name)
	}
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = module, os.Stderr, os.Stderr
	return cmd.Run()
}

// broker is a Kafka cluster that can be taken away and brought back.
type broker interface {
	Addr() string // addresses to start from, separated by commas
	Stop()
	Start() error
}

// system is the whole system of one test.
type system struct {
	t         *testing.T
	patience  time.Duration // only a failing test waits so long
	broker    broker
	tracing   broker // where the spans go; mostly the same
	collector string // of OTLP
	jaeger    *jaeger.Process
	query     *jaeger.Query
	client    *kgo.Client
	write     func(number []byte) // to number-topic
	addrs     map[string]string   // HTTP_ADDR by instance
	extra     []string            // environment of every program
	procs     map[string]*process // by instance
	fed       []int64
}

// newSystem starts a broker inside this process and Jaeger. None of the programs
// runs yet.
func newSystem(t *testing.T) *system {
	t.Helper()
	b := tracingtest.StartBroker(t)
	return newSystemOn(t, b, b, patience)
}

// newSystemOn is newSystem with brokers that run.
func newSystemOn(t *testing.T, data, tracing broker, patience time.Duration) *system {
	t.Helper()
	j := jaeger.StartForTest(t)
	query := jaeger.NewQuery(j.QueryURL())
	t.Cleanup(query.Close)
	s := newSystemFor(t, data, tracing, j.OTLPEndpoint(), patience)
	s.jaeger, s.query = j, query
	return s
}

// newSystemFor is newSystemOn with a collector that runs.
func newSystemFor(t *testing.T, data, tracing broker, collector string, patience time.Duration) *system {
	t.Helper()
	s := &system{
		t: t, patience: patience, broker: data, tracing: tracing, collector: collector,
		addrs: map[string]string{}, procs: map[string]*process{},
	}
	var err error
	s.client, err = kgo.NewClient(kgo.SeedBrokers(addresses(data)...))
	require.NoError(t, err)
	t.Cleanup(s.client.Close)
	s.write = func(number []byte) { s.produce("number-topic", number) }
	t.Cleanup(s.end)
	return s
}

func addresses(b broker) []string { return strings.Split(b.Addr(), ",") }

// startAll makes the topics and starts every service.
func (s *system) startAll() {
	s.t.Helper()
	s.makeTopics()
	for _, name := range programs[1:] {
		s.start(name)
	}
}

// makeTopics runs topic-config.
func (s *system) makeTopics() {
	s.t.Helper()
	s.start("topic-config")
	s.wait("topic-config")
}

// startRelay makes the topics and starts the relay alone.
func (s *system) startRelay() {
	s.t.Helper()
	s.makeTopics()
	s.start("relay")
	s.ready("relay")
}

// addr is where an instance serves HTTP, the same for as long as the test runs.
func (s *system) addr(instance string) string {
	if s.addrs[instance] == "" {
		s.addrs[instance] = tracingtest.FreeAddr(s.t)
	}
	return s.addrs[instance]
}

func (s *system) env(instance string) []string {
	return append(append(os.Environ(),
		"KAFKA_BROKERS="+s.broker.Addr(),
		"TRACING_KAFKA_BROKERS="+s.tracing.Addr(),
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="+s.collector,
		"RANDOM_URL=http://"+s.addr("random"),
		"HTTP_ADDR="+s.addr(instance),
		"GROUP_INSTANCE_ID="+instance, // static membership: a killed one is back at once
		"SESSION_TIMEOUT=6s",
		"LOG_FORMAT=text",
	), s.extra...)
}

// start starts an instance of a program: "relay", or "relay-2" for a further one.
func (s *system) start(instance string, args ...string) {
	s.t.Helper()
	log := filepath.Join(s.t.TempDir(), instance+".log")
	if old := s.procs[instance]; old != nil {
		log = old.log
	}
	program := filepath.Join(binDir, strings.TrimRight(instance, "-0123456789"))
	s.procs[instance] = startProcess(s.t, instance, log, s.env(instance), append([]string{program}, args...)...)
}

// wait waits for a program that ends by itself, and well.
func (s *system) wait(name string) {
	s.t.Helper()
	p := s.procs[name]
	p.ended(s.t, s.patience)
	require.Equal(s.t, 0, p.cmd.ProcessState.ExitCode(), "%s", name)
}

// stop stops a program as an operator does, and checks that it ends well.
func (s *system) stop(name string) {
	s.t.Helper()
	begin := time.Now()
	s.procs[name].terminate(s.t, s.patience)
	s.wait(name)
	require.Less(s.t, time.Since(begin), shutdownTimeout+2*time.Second, "%s: `docker stop` would have killed it", name)
	s.t.Logf("%s stopped within %s", name, time.Since(begin).Round(time.Millisecond))
}

func (s *system) kill(name string) { s.procs[name].kill() }

// end kills what is left and shows the logs of a failed test.
func (s *system) end() {
	for _, p := range s.procs {
		p.bury(s.t)
	}
}

// feed writes numbers as the Kafka Connect file source does.
func (s *system) feed(from, to int64) {
	s.t.Helper()
	for n := from; n < to; n++ {
		s.write(fmt.Append(nil, n))
		s.fed = append(s.fed, n)
	}
}

func (s *system) produce(topic string, value []byte) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), s.patience)
	defer cancel()
	require.NoError(s.t, s.client.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: value}).FirstErr())
}

// complete waits until every number fed has its whole trace in Jaeger and no
// span too many, and everything on tracing-topic is there unchanged.
func (s *system) complete() verdict.Result {
	s.t.Helper()
	return s.judged("complete", verdict.Result.Complete)
}

// delivered says that every number has arrived and all that lies on
// tracing-topic is in Jaeger, whatever was done twice or killed on the way.
func delivered(r verdict.Result) bool {
	return r.NumbersArrived == r.NumbersFed && r.TopicMissing == 0 && r.TopicDiffer == 0
}

// judged waits until the system, with all numbers fed and nothing left on its way, is as wanted.
func (s *system) judged(what string, wanted func(verdict.Result) bool) (r verdict.Result) {
	s.t.Helper()
	checker := verdict.New(addresses(s.broker), addresses(s.tracing), s.query)
	s.eventually(what, func() (string, bool) {
		r = s.check(checker)
		return fmt.Sprint(r, "; numbers ", r.NumbersArrived, "/", r.NumbersFed, "/", len(s.fed), "; ", firstOf(r.Problems, 10)),
			r.NumbersFed == len(s.fed) && wanted(r) && s.caughtUp()
	})
	s.t.Log(r)
	return r
}

// check judges the system as it is now.
func (s *system) check(checker *verdict.Checker) verdict.Result {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), s.patience)
	defer cancel()
	r, err := checker.Check(ctx)
	require.NoError(s.t, err)
	return r
}

// caughtUp tells whether the relays have delivered all that lies on the topic.
func (s *system) caughtUp() bool {
	partitions := 0
	for name, p := range s.procs {
		if !strings.HasPrefix(name, "relay") || !p.running() {
			continue
		}
		for _, p := range s.statusOf(name).Partitions {
			partitions++
			if p.Lag != 0 {
				return false
			}
		}
	}
	return partitions > 0
}

// eventually polls until holds says true; its text tells how things stand.
func (s *system) eventually(what string, holds func() (string, bool)) {
	s.t.Helper()
	eventually(s.t, s.patience, what, holds)
}

type relayStatus struct {
	State      string `json:"state"`
	SpansSent  int    `json:"spans_sent"`
	Partitions []struct {
		Partition int32 `json:"partition"`
		Lag       int64 `json:"lag"`
	} `json:"partitions"`
	Errors []struct {
		Error string `json:"error"`
	} `json:"errors"`
}

// relayStatus asks the relay what it is doing; empty while it does not answer.
func (s *system) relayStatus() relayStatus { return s.statusOf("relay") }

// statusOf is relayStatus of another instance.
func (s *system) statusOf(instance string) (status relayStatus) {
	response, err := http.Get("http://" + s.addr(instance) + "/status")
	if err != nil {
		return status
	}
	defer response.Body.Close()
	_ = json.NewDecoder(response.Body).Decode(&status)
	return status
}

func (s *system) relayIs(state string) {
	s.t.Helper()
	s.eventually("the relay is "+state, func() (string, bool) {
		got := s.relayStatus().State
		return got, got == state
	})
}

// ready waits until the services answer that they have joined their groups.
func (s *system) ready(names ...string) {
	s.t.Helper()
	for _, name := range names {
		s.eventually(name+" is ready", func() (string, bool) {
			response, err := http.Get("http://" + s.addr(name) + "/readyz")
			if err != nil {
				return err.Error(), false
			}
			response.Body.Close()
			return response.Status, response.StatusCode == http.StatusOK
		})
	}
}

func (s *system) logOf(name string) string {
	s.t.Helper()
	log, err := os.ReadFile(s.procs[name].log)
	require.NoError(s.t, err)
	return string(log)
}

func firstOf(list []string, n int) []string { return list[:min(n, len(list))] }
