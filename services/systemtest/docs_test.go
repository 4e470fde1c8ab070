package systemtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fault-tolerant-tracing/services/internal/jaeger"
	"fault-tolerant-tracing/tracing/tracingtest"
)

// docs/trace-your-own-service.md, followed word for word: what it says to save is saved, what it says to type is typed. Both ways to
// route requests give the trace that it promises.
func TestTraceYourOwnService(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.startRelay()
	page := readPage(t, "trace-your-own-service.md")
	repository := filepath.Join(t.TempDir(), "repository") // the page makes a folder beside it
	require.NoError(t, os.CopyFS(filepath.Join(repository, "tracing"), os.DirFS("../../tracing")))
	folder := filepath.Join(filepath.Dir(repository), "greeter")

	run(t, repository, page.commands("Make a module"))
	main, routers := page.files("main.go"), page.files("routes.go")
	require.Len(t, main, 1)
	require.Len(t, routers, 2, "one for net/http, one for chi")
	build, greeter, found := strings.Cut(page.commands("Write the service"), "./greeter")
	require.True(t, found)
	require.Empty(t, strings.TrimSpace(greeter), "the service runs until it is stopped")
	save(t, folder, "main.go", main[0])
	for i, routes := range routers {
		save(t, folder, "routes.go", routes)
		run(t, folder, build+"go vet\n")
		addr := tracingtest.FreeAddr(t)
		p := startProcess(t, "greeter", filepath.Join(t.TempDir(), "greeter.log"),
			append(os.Environ(), "KAFKA_BROKERS="+s.broker.Addr(), "HTTP_ADDR="+addr), filepath.Join(folder, "greeter"))
		t.Cleanup(func() { p.bury(t) })
		curl := strings.Replace(page.commands("Look at the trace"), "localhost:8090", addr, 1)
		s.eventually("the greeter answers", func() (string, bool) {
			require.True(t, p.running(), "the greeter has ended")
			out, err := exec.CommandContext(t.Context(), "sh", "-c", "set -e\n"+strings.Replace(curl, "curl", "curl --fail -sS", 1)).CombinedOutput()
			return string(out), err == nil
		})
		s.eventually("its trace is in Jaeger", func() (string, bool) {
			traces, err := s.query.Traces(t.Context(), "greeter", 10)
			require.NoError(t, err)
			log, err := os.ReadFile(p.log)
			require.NoError(t, err)
			return string(log), len(traces) == i+1 && len(traces[0].Spans) == 3
		})
		p.terminate(t, s.patience)
		assert.Zero(t, p.cmd.ProcessState.ExitCode())
	}

	traces, err := s.query.Traces(t.Context(), "greeter", 10)
	require.NoError(t, err)
	for _, trace := range traces {
		assert.Equal(t, []string{"POST /greetings/{name}", "To_greeting-topic", "From_greeting-topic"}, chain(trace))
	}
}

// chain lists the operations of a trace without branches, from its root on.
func chain(trace jaeger.Trace) (operations []string) {
	for parent := ""; ; {
		found := false
		for _, span := range trace.Spans {
			if len(span.References) == 0 && parent == "" || len(span.References) == 1 && span.References[0].SpanID == parent {
				operations, parent, found = append(operations, span.OperationName), span.SpanID, true
				break
			}
		}
		if !found {
			return operations
		}
	}
}

// page is a page of docs.
type page string

func readPage(t *testing.T, name string) page {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../docs", name))
	require.NoError(t, err)
	return page(text)
}

var (
	block = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")
	file  = regexp.MustCompile("(?s)`([a-z]+\\.go)`[^`]*?\n\n```go\n(.*?)```")
)

// commands are what the section says to type.
func (p page) commands(section string) string {
	_, text, _ := strings.Cut(string(p), ". "+section)
	text, _, _ = strings.Cut(text, "\n## ")
	var commands strings.Builder
	for _, match := range block.FindAllStringSubmatch(text, -1) {
		if match[1] == "" {
			commands.WriteString(match[2])
		}
	}
	return commands.String()
}

// files are all that the page says to save under that name.
func (p page) files(name string) (contents []string) {
	for _, match := range file.FindAllStringSubmatch(string(p), -1) {
		if match[1] == name {
			contents = append(contents, match[2])
		}
	}
	return contents
}

func save(t *testing.T, folder, name, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(content), 0o644))
}

func run(t *testing.T, folder, commands string) {
	t.Helper()
	require.NotEmpty(t, commands)
	cmd := exec.CommandContext(t.Context(), "sh", "-exc", commands)
	cmd.Dir = folder
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}
