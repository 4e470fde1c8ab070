package composetest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fault-tolerant-tracing/services/internal/connect"
)

// One command, and data flows; Jaeger goes away and comes back; nothing is lost.
func TestTheSystemInDockerSurvivesAnOutage(t *testing.T) {
	s := newSystem(t)
	begin := time.Now()
	s.run(s.compose + " up -d --build")
	t.Logf("up after %s, images built", time.Since(begin).Round(time.Second))
	s.healthy()
	r := s.complete(50)
	assert.Equal(t, 50, r.Traces)
	assert.Equal(t, 25*9+25*2, r.Spans)
	s.run(s.compose + " --profile prometheus up -d")
	s.healthy()
	s.scraped(5)
	s.secure()
	s.run(s.compose + " --profile prometheus up -d --scale relay=2")
	s.healthy()
	s.scraped(6)
	s.run(s.compose + " --profile prometheus up -d --scale relay=1")

	assert.Contains(t, s.run("make outage"), "make recover")
	s.run("make numbers N=20") // data/live is made only now
	s.relayIs("holding")
	s.arrive("the numbers of the outage", 70)
	assert.Contains(t, s.run("make recover"), s.url("JAEGER_PORT"))
	r = s.complete(70)
	assert.Equal(t, 70, r.Traces)
	s.relayIs("delivering")
	s.run("make numbers N=4") // flows at once
	s.complete(74)
	log := s.run(s.compose + " logs --no-color relay")
	assert.Contains(t, log, "span(s) to jaeger")
	assert.Contains(t, log, "could not send spans to jaeger, retrying offset ")

	smoke := s.run("make smoke")
	t.Log(smoke[strings.LastIndex(smoke, "the system was up already"):])
	assert.Contains(t, smoke, "traces 74/74")
	assert.Contains(t, smoke, "documents")
	s.run("make ps")

	s.stopsInTime()
	s.run(s.compose + " --profile prometheus up -d")
	s.healthy()
	s.complete(74) // everything outlives its container
	s.run("make down")
	assert.Empty(t, s.containers())
	assert.Empty(t, strings.TrimSpace(s.run("docker volume ls -q --filter label=com.docker.compose.project="+s.project)))
}

// Parts are killed while numbers flow, all is restarted, stopped, and started before Kafka is there: nothing is lost. A side part that
// cannot be built, or that fails, keeps nothing from running.
func TestTheSystemInDockerSurvivesKills(t *testing.T) {
	if os.Getenv("COMPOSE") == "docker-compose" && exec.Command("docker", "compose", "version").Run() == nil {
		t.Skip("once is enough: COMPOSE='docker compose' runs it")
	}
	s := newSystem(t)
	s.env = append(s.env, "SINK=0.0.0") // there is no such version
	for range 2 {
		assert.Contains(t, s.run("make up"), "version 0.0.0 could not be downloaded")
	}
	s.healthy()
	last := int64(50)
	for _, part := range []string{"kafka", "relay", "jaeger", "connect", "sentence"} {
		s.run("make numbers N=1000")
		s.arrive("numbers flow", last+1)
		s.run(s.compose + " kill -s KILL " + part)
		s.run(s.compose + " start " + part)
		last += 1000
	}
	s.arrive("all numbers", last)
	s.run(s.compose + " restart")
	s.healthy()
	s.run(s.compose + " stop")
	s.run(s.compose + " up -d --no-deps relay connect sentence")
	s.run(s.compose + " start kafka")
	s.healthy("kafka", "relay", "connect", "sentence")
	s.run(s.compose + " start")
	s.healthy()
	s.failedConnectorIsRevived()
	smoke := s.run("make smoke")
	t.Log(smoke[strings.LastIndex(smoke, "the system was up already"):])
	assert.Contains(t, smoke, ", lost 0, ")
	assert.Contains(t, smoke, "documents are right on answer-topic")
}

// failedConnectorIsRevived has a connector fail, as the sink does when OpenSearch is away for long, and takes away the reason.
func (s *system) failedConnectorIsRevived() {
	s.t.Helper()
	client := connect.NewClient(s.url("CONNECT_PORT"))
	converter := "org.apache.kafka.connect.storage.StringConverter"
	require.NoError(s.t, client.Put(s.t.Context(), connect.Connector{Name: "copy", Config: map[string]string{
		"connector.class": "org.apache.kafka.connect.file.FileStreamSinkConnector", "tasks.max": "1", "topics": "odd-topic",
		"file": "/tmp/copy/odd.txt", "key.converter": converter, "value.converter": converter,
	}}))
	s.eventually("the connector fails", func() (string, bool) {
		status, _, err := client.Status(s.t.Context(), "copy")
		return fmt.Sprint(status, err), status.Failed() != ""
	})
	s.run(s.compose + " exec -T connect mkdir /tmp/copy")
	s.eventually("the connector runs again", func() (string, bool) {
		status, _, err := client.Status(s.t.Context(), "copy")
		return fmt.Sprint(status, err), err == nil && status.Running()
	})
}

// The article's own steps, as README.md has them.
func TestTheArticlesStepsByHand(t *testing.T) {
	s := newSystem(t)
	readme, err := os.ReadFile(filepath.Join(s.dir, "README.md"))
	require.NoError(t, err)
	_, section, found := strings.Cut(string(readme), "### The article's steps, by hand")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n## ")
	var commands strings.Builder
	for i, block := range strings.Split(section, "```\n") {
		if i%2 == 1 {
			commands.WriteString(block)
		}
	}

	for line := range strings.Lines(commands.String()) {
		command := strings.NewReplacer(
			"docker compose", s.compose,
			"http://localhost:8083", s.url("CONNECT_PORT"),
			" logs -f ", " logs ",
		).Replace(strings.TrimSpace(line))
		out := s.run(command)
		if strings.Contains(command, "up -d") {
			s.healthy()
			assert.Contains(t, s.run(s.compose+" logs connect-config"), "by hand")
			assert.Zero(t, s.check(s.checker()).TopicDiffer)
		}
		if strings.Contains(command, " logs ") {
			s.eventually("the log of the relay reads like the article's", func() (string, bool) {
				out = s.run(command)
				return out, strings.Contains(out, "could not send spans to jaeger, retrying offset ")
			})
		}
		t.Logf("%s\n%.500s", command, out)
	}
	s.complete(50)
	assert.Contains(t, s.run(s.compose+" logs --no-color relay"), "span(s) to jaeger")
}

// scraped waits until Prometheus has metrics of so many targets, and of no fewer than it is to scrape.
func (s *system) scraped(targets int) {
	s.t.Helper()
	s.eventually("Prometheus scrapes every service", func() (string, bool) {
		out := s.run("curl -sS " + s.url("PROMETHEUS_PORT") + "/api/v1/targets")
		return out, strings.Count(out, `"health":"up"`) == targets && strings.Count(out, `"health":`) == targets
	})
}

// secure checks what runs as whom, and what it may do.
func (s *system) secure() {
	s.t.Helper()
	var limits int64
	for _, c := range s.containers() {
		name := c.Config.Labels.Service
		if c.State.Running {
			limits += c.HostConfig.Memory
		}
		assert.NotZero(s.t, c.HostConfig.Memory, "%s: memory limit", name)
		assert.False(s.t, c.State.OOMKilled, "%s: ran out of memory", name)
		assert.Zero(s.t, c.RestartCount, "%s: restarts", name)
		assert.Equal(s.t, []string{"ALL"}, c.HostConfig.CapDrop, "%s: dropped capabilities", name)
		assert.Empty(s.t, c.HostConfig.CapAdd, "%s: added capabilities", name)
		assert.Contains(s.t, c.HostConfig.SecurityOpt, "no-new-privileges:true", "%s", name)
		for _, bindings := range c.HostConfig.PortBindings {
			for _, b := range bindings {
				assert.Equal(s.t, "127.0.0.1", b.HostIP, "%s: port %s", name, b.HostPort)
			}
		}
		if strings.HasPrefix(c.Config.Image, "fault-tolerant-tracing/") {
			assert.True(s.t, c.HostConfig.ReadonlyRootfs, "%s: read-only root file system", name)
			assert.NotContains(s.t, []string{"", "0", "root", "0:0"}, c.Config.User, "%s: user", name)
			assert.NotEmpty(s.t, c.Config.Labels.Title, "%s: label", name)
		}
		if c.State.Running {
			processes := strings.Split(strings.TrimSpace(s.run("docker top "+c.ID+" -eo uid,pid,rss,comm")), "\n")
			for _, p := range processes[1:] {
				assert.NotEqual(s.t, "0", strings.Fields(p)[0], "%s: runs as root: %s", name, p)
			}
		}
	}
	assert.Less(s.t, limits, int64(3)<<30, "the memory limits together")
	s.t.Logf("memory limits together: %d MiB", limits>>20)
}

// stopsInTime stops each container as `docker stop` does, and checks that none had to be killed.
func (s *system) stopsInTime() {
	s.t.Helper()
	for _, c := range s.containers() {
		if !c.State.Running {
			continue
		}
		begin := time.Now()
		s.run("docker stop " + c.ID)
		took := time.Since(begin)
		assert.Less(s.t, took, 10*time.Second, "%s", c.Config.Labels.Service)
		s.t.Logf("%s stopped within %s", c.Config.Labels.Service, took.Round(100*time.Millisecond))
	}
	for _, c := range s.containers() {
		assert.NotEqual(s.t, 137, c.State.ExitCode, "%s was killed", c.Config.Labels.Service)
		if strings.HasPrefix(c.Config.Image, "fault-tolerant-tracing/") && c.Config.Labels.Service != "connect" {
			assert.Zero(s.t, c.State.ExitCode, "%s", c.Config.Labels.Service)
		}
	}
}

// healthy waits until the containers of these parts, all if none is named, are as they should be: healthy, or jobs that have ended well.
func (s *system) healthy(parts ...string) {
	s.t.Helper()
	s.eventually("everything is healthy", func() (string, bool) {
		var ill []string
		containers := s.containers()
		for _, c := range containers {
			if len(parts) > 0 && !slices.Contains(parts, c.Config.Labels.Service) {
				continue
			}
			job := strings.HasSuffix(c.Config.Labels.Service, "-config")
			if job && (c.State.Running || c.State.ExitCode != 0) || !job && c.State.Health.Status != "healthy" {
				ill = append(ill, fmt.Sprint(c.Config.Labels.Service, " ", c.State))
			}
		}
		return strings.Join(ill, "; "), len(containers) >= 11 && len(ill) == 0
	})
}
