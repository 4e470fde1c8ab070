package composetest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"fault-tolerant-tracing/services/internal/jaeger"
	"fault-tolerant-tracing/services/internal/verdict"
	"fault-tolerant-tracing/tracing/tracingtest"
)

const (
	patience = 3 * time.Minute // without a change: only a failing test waits so long
	poll     = 250 * time.Millisecond
)

func TestMain(m *testing.M) { tracingtest.VerifyMain(m) }

// system is the system of one test, in a copy of the repository.
type system struct {
	t       *testing.T
	dir     string
	compose string // the command: docker compose, or docker-compose
	project string
	ports   map[string]int // by variable of .env
	env     []string
	query   *jaeger.Query
}

func newSystem(t *testing.T) *system {
	t.Helper()
	if os.Getenv("COMPOSE_TEST") == "" {
		t.Skip("make test-compose runs this")
	}
	s := &system{t: t, dir: t.TempDir(), compose: os.Getenv("COMPOSE"), project: "fault-tolerant-tracing-test", ports: map[string]int{}}
	if s.compose == "" {
		s.compose = "docker compose"
	}
	s.copyRepository()
	s.env = append(os.Environ(), "COMPOSE="+s.compose, "COMPOSE_PROJECT_NAME="+s.project, "MAKEFLAGS=", "VERSION=test")
	for _, name := range s.portVariables() {
		s.ports[name] = tracingtest.FreePort(t)
		s.env = append(s.env, fmt.Sprintf("%s=%d", name, s.ports[name]))
	}
	s.query = jaeger.NewQuery(s.url("JAEGER_PORT"))
	t.Cleanup(s.query.Close)
	s.run("make down") // what a test that was killed has left
	t.Cleanup(s.end)
	return s
}

// copyRepository copies what git would check out, and what is new.
func (s *system) copyRepository() {
	s.t.Helper()
	root, err := filepath.Abs("../..")
	require.NoError(s.t, err)
	list := exec.Command("git", "ls-files", "-co", "--exclude-standard", "-z")
	list.Dir = root
	files, err := list.Output()
	require.NoError(s.t, err)
	for name := range strings.SplitSeq(strings.TrimSuffix(string(files), "\x00"), "\x00") {
		info, err := os.Stat(filepath.Join(root, name))
		if os.IsNotExist(err) { // deleted, and not yet in git
			continue
		}
		require.NoError(s.t, err)
		content, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(s.t, err)
		to := filepath.Join(s.dir, name)
		require.NoError(s.t, os.MkdirAll(filepath.Dir(to), 0o755))
		require.NoError(s.t, os.WriteFile(to, content, info.Mode().Perm()))
	}
}

// portVariables lists those of .env.
func (s *system) portVariables() (names []string) {
	s.t.Helper()
	env, err := os.ReadFile(filepath.Join(s.dir, ".env"))
	require.NoError(s.t, err)
	for line := range strings.Lines(string(env)) {
		if name, _, found := strings.Cut(line, "="); found && strings.HasSuffix(name, "_PORT") {
			names = append(names, name)
		}
	}
	return names
}

func (s *system) url(variable string) string {
	return fmt.Sprintf("http://localhost:%d", s.ports[variable])
}

// published is where a port of a service is published that can be scaled.
func (s *system) published(service string, port int) string {
	s.t.Helper()
	return "http://" + strings.TrimSpace(s.run(fmt.Sprintf("%s port %s %d", s.compose, service, port)))
}

// run runs a command as a user would type it, and returns its output.
func (s *system) run(command string) string {
	s.t.Helper()
	out, err := s.try(context.Background(), command)
	require.NoError(s.t, err, "%s\n%s", command, out)
	return out
}

func (s *system) try(ctx context.Context, command string) (string, error) {
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Dir, cmd.Env = s.dir, s.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// end shows the logs of a failed test, and takes everything away.
func (s *system) end() {
	if s.t.Failed() {
		out, _ := s.try(context.Background(), s.compose+" ps -a; "+s.compose+" logs --no-color --tail 40")
		s.t.Log(out)
	}
	if out, err := s.try(context.Background(), "make down"); err != nil {
		s.t.Errorf("make down: %v\n%s", err, out)
	}
}

// container is what is asked of `docker inspect`.
type container struct {
	ID           string `json:"Id"`
	RestartCount int
	State        struct {
		Status             string
		Running, OOMKilled bool
		ExitCode           int
		Health             struct{ Status string }
	}
	Config struct {
		Image, User string
		Labels      struct {
			Service string `json:"com.docker.compose.service"`
			Title   string `json:"org.opencontainers.image.title"`
		}
	}
	HostConfig struct {
		Memory          int64
		ReadonlyRootfs  bool
		CapAdd, CapDrop []string
		SecurityOpt     []string
		PortBindings    map[string][]struct{ HostIP, HostPort string }
	}
}

// containers inspects those of the project, the ended ones too.
func (s *system) containers() (list []container) {
	s.t.Helper()
	ids := strings.Fields(s.run("docker ps -aq --no-trunc --filter label=com.docker.compose.project=" + s.project))
	if len(ids) == 0 {
		return nil
	}
	out := s.run("docker inspect " + strings.Join(ids, " "))
	require.NoError(s.t, json.Unmarshal([]byte(out), &list))
	return list
}

// complete waits until the numbers 1 to last, and nothing else, have their whole traces in Jaeger.
func (s *system) complete(last int64) (r verdict.Result) {
	s.t.Helper()
	checker := s.checker()
	s.eventually(fmt.Sprintf("the traces of 1 to %d", last), func() (string, bool) {
		r = s.check(checker)
		return fmt.Sprint(r, "; numbers ", r.NumbersArrived, "/", r.NumbersFed, "; ", r.Problems[:min(5, len(r.Problems))]),
			int64(r.NumbersFed) == last && r.Complete()
	})
	s.t.Log(r)
	return r
}

// arrive waits until the numbers 1 to last have gone all the way, traced or not. Kafka Connect, when it is killed, writes some again.
func (s *system) arrive(what string, last int64) {
	s.t.Helper()
	numbers := verdict.Follow(s.brokers())
	s.eventually(what, func() (string, bool) {
		ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
		defer cancel()
		err := numbers.Read(ctx)
		arrived := map[int64]bool{}
		for _, n := range numbers.Fed {
			if n.Arrived && n.Value <= last {
				arrived[n.Value] = true
			}
		}
		return fmt.Sprint(len(arrived), " of ", last, " have arrived, ", err), int64(len(arrived)) == last
	})
}

func (s *system) brokers() []string {
	return []string{fmt.Sprintf("127.0.0.1:%d", s.ports["KAFKA_PORT"])}
}

func (s *system) checker() *verdict.Checker { return verdict.New(s.brokers(), s.brokers(), s.query) }

// check judges the system as it is now; empty while it does not answer.
func (s *system) check(checker *verdict.Checker) verdict.Result {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	r, err := checker.Check(ctx)
	if err != nil {
		r.Problems = []string{err.Error()}
	}
	return r
}

func (s *system) relayIs(state string) {
	s.t.Helper()
	s.eventually("the relay is "+state, func() (string, bool) {
		response, err := http.Get(s.published("relay", 8097) + "/status")
		if err != nil {
			return err.Error(), false
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		var status struct{ State string }
		_ = json.Unmarshal(body, &status)
		return string(body), status.State == state
	})
}

// eventually polls until holds says true; its text tells how things stand. It gives up when that has stayed the same for long.
func (s *system) eventually(what string, holds func() (string, bool)) {
	s.t.Helper()
	before, since := "", time.Now()
	for {
		text, ok := holds()
		if ok {
			return
		}
		if text != before {
			before, since = text, time.Now()
		}
		if time.Since(since) > patience {
			s.t.Fatalf("for %s not %s: %s", patience, what, text)
		}
		select {
		case <-s.t.Context().Done():
		case <-time.After(poll):
		}
	}
}
