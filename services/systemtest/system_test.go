package systemtest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
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
	for _, name := range programs {
		args = append(args, "./"+name)
	}
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = module, os.Stderr, os.Stderr
	return cmd.Run()
}

// system is the whole system of one test.
type system struct {
	t      *testing.T
	broker *tracingtest.Broker
	jaeger *jaeger.Process
	query  *jaeger.Query
	client *kgo.Client
	addrs  map[string]string // HTTP_ADDR by program
	extra  []string          // environment of every program
	procs  map[string]*process
	fed    []int64
}

type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	log  string        // name of its log file
}

// newSystem starts a broker and Jaeger. None of the programs runs yet.
func newSystem(t *testing.T) *system {
	t.Helper()
	s := &system{t: t, broker: tracingtest.StartBroker(t), jaeger: jaeger.StartForTest(t), addrs: map[string]string{}, procs: map[string]*process{}}
	s.query = jaeger.NewQuery(s.jaeger.QueryURL())
	t.Cleanup(s.query.Close)
	var err error
	s.client, err = kgo.NewClient(kgo.SeedBrokers(s.broker.Addr()))
	require.NoError(t, err)
	t.Cleanup(s.client.Close)
	for _, name := range programs {
		s.addrs[name] = tracingtest.FreeAddr(t)
	}
	t.Cleanup(s.end)
	return s
}

// startAll makes the topics and starts every service.
func (s *system) startAll() {
	s.t.Helper()
	s.start("topic-config")
	s.wait("topic-config")
	for _, name := range programs[1:] {
		s.start(name)
	}
}

func (s *system) env(name string) []string {
	return append(append(os.Environ(),
		"KAFKA_BROKERS="+s.broker.Addr(),
		"JAEGER_ENDPOINT="+s.jaeger.Endpoint(),
		"RANDOM_URL=http://"+s.addrs["random"],
		"HTTP_ADDR="+s.addrs[name],
		"GROUP_INSTANCE_ID="+name, // static membership: a killed one is back at once
		"SESSION_TIMEOUT=6s",
		"LOG_FORMAT=text",
	), s.extra...)
}

func (s *system) start(name string) {
	s.t.Helper()
	p := &process{cmd: exec.Command(filepath.Join(binDir, name)), done: make(chan struct{}), log: filepath.Join(s.t.TempDir(), name+".log")}
	if old := s.procs[name]; old != nil {
		p.log = old.log
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	require.NoError(s.t, err)
	defer log.Close()
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = s.env(name), log, log
	dieWithParent(p.cmd)
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // what dies with the parent dies with this thread
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait()
			close(p.done)
		}
	}()
	require.NoError(s.t, <-started)
	s.procs[name] = p
}

// wait waits for a program that ends by itself, and well.
func (s *system) wait(name string) {
	s.t.Helper()
	p := s.procs[name]
	select {
	case <-p.done:
	case <-time.After(patience):
		s.t.Fatalf("%s has not ended", name)
	}
	require.Equal(s.t, 0, p.cmd.ProcessState.ExitCode(), "%s", name)
}

// stop stops a program as an operator does, and checks that it ends well.
func (s *system) stop(name string) {
	s.t.Helper()
	begin := time.Now()
	require.NoError(s.t, s.procs[name].cmd.Process.Signal(syscall.SIGTERM))
	s.wait(name)
	require.Less(s.t, time.Since(begin), shutdownTimeout+2*time.Second, "%s: `docker stop` would have killed it", name)
	s.t.Logf("%s stopped within %s", name, time.Since(begin).Round(time.Millisecond))
}

func (s *system) kill(name string) {
	s.t.Helper()
	require.NoError(s.t, s.procs[name].cmd.Process.Kill())
	<-s.procs[name].done
}

// end kills what is left and shows the logs of a failed test.
func (s *system) end() {
	for name, p := range s.procs {
		_ = p.cmd.Process.Kill()
		<-p.done
		log, _ := os.ReadFile(p.log)
		if s.t.Failed() {
			s.t.Logf("log of %s, its end:\n%s", name, log[max(0, len(log)-8000):])
		}
	}
}

// feed writes numbers as the Kafka Connect file source does.
func (s *system) feed(from, to int64) {
	s.t.Helper()
	for n := from; n < to; n++ {
		s.produce("number-topic", fmt.Append(nil, n))
		s.fed = append(s.fed, n)
	}
}

func (s *system) produce(topic string, value []byte) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
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

// judged waits until the system, with nothing left on its way, is as wanted.
func (s *system) judged(what string, wanted func(verdict.Result) bool) (r verdict.Result) {
	s.t.Helper()
	s.eventually(what, func() (string, bool) {
		r = s.check()
		return fmt.Sprint(r, "; numbers ", r.NumbersArrived, "/", r.NumbersFed, "; ", firstOf(r.Problems, 10)), wanted(r) && s.caughtUp()
	})
	s.t.Log(r)
	return r
}

// check judges the system as it is now.
func (s *system) check() verdict.Result {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	r, err := verdict.Check(ctx, []string{s.broker.Addr()}, s.query, s.fed)
	require.NoError(s.t, err)
	return r
}

// caughtUp tells whether the relay has delivered all that lies on the topic.
func (s *system) caughtUp() bool {
	status := s.relayStatus()
	for _, p := range status.Partitions {
		if p.Lag != 0 {
			return false
		}
	}
	return len(status.Partitions) > 0
}

// eventually polls until holds says true; its text tells how things stand.
func (s *system) eventually(what string, holds func() (string, bool)) {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		text, ok := holds()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("not in %s: %s: %s", patience, what, text)
		}
		select {
		case <-s.t.Context().Done():
		case <-time.After(poll):
		}
	}
}

// relayStatus asks the relay what it is doing; empty while it does not answer.
func (s *system) relayStatus() (status struct {
	State      string `json:"state"`
	SpansSent  int    `json:"spans_sent"`
	Partitions []struct {
		Lag int64 `json:"lag"`
	} `json:"partitions"`
}) {
	response, err := http.Get("http://" + s.addrs["relay"] + "/status")
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
			response, err := http.Get("http://" + s.addrs[name] + "/readyz")
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
