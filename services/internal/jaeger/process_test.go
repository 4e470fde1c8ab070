package jaeger

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTracesSurviveStopAndStart(t *testing.T) {
	t.Parallel()
	p := StartForTest(t)
	span := newSpan("before")
	post(t, p, newBatch("stream", span))

	ended := p.Done()
	require.NoError(t, p.Stop(within(t, 30*time.Second)))
	<-ended
	require.NoError(t, p.Stop(t.Context()), "stopping what is not running is no error")
	require.NoError(t, p.Start(within(t, 30*time.Second)))
	require.ErrorContains(t, p.Start(t.Context()), "it is running")

	q := newQuery(t, p)
	trace, err := q.Trace(t.Context(), hexID(span.TraceIdLow))
	require.NoError(t, err)
	require.Len(t, trace.Spans, 1)
	services, err := q.Services(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"stream"}, services)
}

// This is what an acknowledged record rests on: 202 means stored.
func TestTracesSurviveKillRightBehindTheAnswer(t *testing.T) {
	t.Parallel()
	p := StartForTest(t)
	for range 5 {
		span := newSpan("last words")
		post(t, p, newBatch("stream", span))
		require.NoError(t, p.Kill())
		require.NoError(t, p.Start(within(t, 30*time.Second)))
		_, err := newQuery(t, p).Trace(t.Context(), hexID(span.TraceIdLow))
		require.NoError(t, err)
	}
}

func TestStartSaysWhyItFailed(t *testing.T) {
	t.Parallel()
	running := StartForTest(t).opts
	tests := []struct {
		name   string
		change func(*Options)
		want   []string
	}{
		{"port taken", func(o *Options) { o.QueryPort = running.QueryPort }, []string{"port ", " is taken"}},
		{"folder taken", func(o *Options) { o.DataDir = running.DataDir }, []string{"it ended early: exit status 1", "Cannot acquire directory lock"}},
		{"no program", func(o *Options) { o.Binary += ".missing" }, []string{"no such file"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			opts := optionsForTest(t)
			tt.change(&opts)
			_, err := Start(within(t, time.Minute), opts)
			for _, want := range tt.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	t.Parallel()
	opts := optionsForTest(t)
	opts.Wrap = []string{"sh", "-c", "sleep 1000"}
	began := time.Now()
	_, err := Start(within(t, 200*time.Millisecond), opts)
	require.ErrorContains(t, err, "it does not answer")
	require.Less(t, time.Since(began), 10*time.Second)
}

func TestStopReachesBehindTheWrapper(t *testing.T) {
	t.Parallel()
	opts := optionsForTest(t)
	opts.Wrap = []string{"sh", "-c", `trap : TERM; "$@" & wait; wait`, "sh"}
	p, err := Start(within(t, time.Minute), opts)
	require.NoError(t, err)
	for range 2 { // the ports are free again when it has stopped
		require.NoError(t, p.Stop(within(t, time.Minute)))
		require.NoError(t, p.Start(within(t, time.Minute)))
	}
	require.NoError(t, p.Kill())
}

// Nothing may be left running after a kill -9: by the help of the kernel, or of
// a wrapper that watches its standard input.
func TestJaegerDiesWithItsParent(t *testing.T) {
	t.Parallel()
	t.Run("alone", func(t *testing.T) {
		if runtime.GOOS != "linux" {
			t.Skip("only Linux kills the children of a process with it")
		}
		requireDeathWithParent(t, "")
	})
	t.Run("wrapped", func(t *testing.T) {
		requireDeathWithParent(t, `"$@" & child=$!; cat; kill -9 $child`)
	})
}

// requireDeathWithParent runs TestParentProcess, which is killed when it has
// started a Jaeger.
func requireDeathWithParent(t *testing.T, wrap string) {
	t.Helper()
	parent := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestParentProcess$", "-test.v")
	parent.Env = append(os.Environ(), "PARENT_PROCESS=1", "PARENT_WRAP="+wrap, "TMPDIR="+t.TempDir())
	out, err := parent.Output()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, syscall.SIGKILL, exit.Sys().(syscall.WaitStatus).Signal(), string(out))
	_, port, found := strings.Cut(string(out), "collector port ")
	require.True(t, found, string(out))
	port, _, _ = strings.Cut(port, "\n")
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", net.JoinHostPort(host, port))
		if err == nil {
			conn.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	}, 20*time.Second, 50*time.Millisecond)
}

// TestParentProcess is not a test but a process of its own for those above.
func TestParentProcess(t *testing.T) {
	if os.Getenv("PARENT_PROCESS") == "" {
		t.Skip("runs as a child process of another test")
	}
	opts := optionsForTest(t)
	if script := os.Getenv("PARENT_WRAP"); script != "" {
		opts.Wrap = []string{"sh", "-c", script, "sh"}
	}
	p, err := Start(within(t, time.Minute), opts)
	require.NoError(t, err)
	fmt.Printf("collector port %d\n", p.opts.CollectorPort)
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGKILL))
	<-t.Context().Done()
}
