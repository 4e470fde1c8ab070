package local

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSuperviseReturnsTheExitCodeOfItsProgram(t *testing.T) {
	stdin, hold := io.Pipe()
	defer hold.Close()
	for _, want := range []int{0, 7} {
		code, err := Supervise(t.Context(), []string{"sh", "-c", "exit " + string(rune('0'+want))}, stdin, StopGrace)
		require.NoError(t, err)
		assert.Equal(t, want, code)
	}
}

func TestSuperviseSaysWhatCannotBeStarted(t *testing.T) {
	code, err := Supervise(t.Context(), []string{"./no-such-program"}, strings.NewReader(""), StopGrace)
	assert.ErrorContains(t, err, "no-such-program")
	assert.Equal(t, 1, code)
}

func TestSuperviseStopsItsProgramAtTheEndOfStdin(t *testing.T) {
	tests := []struct {
		name, script string
		grace        time.Duration
		want         int
	}{
		{"in order", "trap 'exit 0' TERM; touch $0; while :; do sleep 0.05; done", time.Minute, 0},
		{"by force, after the grace", "trap '' TERM; touch $0; while :; do sleep 0.05; done", 200 * time.Millisecond, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			started := filepath.Join(t.TempDir(), "started")
			stdin, hold := io.Pipe()
			code := make(chan int, 1)
			go func() {
				c, _ := Supervise(context.Background(), []string{"sh", "-c", test.script, started}, stdin, test.grace)
				code <- c
			}()
			eventually(t, "the program runs", func() bool { _, err := os.Stat(started); return err == nil })
			require.NoError(t, hold.Close())
			select {
			case got := <-code:
				assert.Equal(t, test.want, got)
			case <-time.After(30 * time.Second):
				t.Fatal("the program still runs")
			}
		})
	}
}

func TestChildRunsWithItsEnvironmentOnlyAndStops(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	t.Setenv("KAFKA_BROKERS", "of the person in front")
	logFile := filepath.Join(t.TempDir(), "child.log")
	c, err := Start([]string{self, "supervise", "--"}, "child", logFile, []string{"PATH=" + os.Getenv("PATH"), "ONE=1"},
		"sh", "-c", `env; trap 'echo stopped; exit 0' TERM; echo started; while :; do sleep 0.05; done`)
	require.NoError(t, err)
	eventually(t, "the child runs", func() bool { return LastLine(logFile) == "started" })
	require.NoError(t, c.Stop(t.Context()))

	log, err := os.ReadFile(logFile)
	require.NoError(t, err)
	assert.Contains(t, string(log), "ONE=1\n")
	assert.NotContains(t, string(log), "KAFKA_BROKERS")
	assert.Equal(t, "stopped", LastLine(logFile))
	assert.NoError(t, c.Stop(t.Context()), "a second stop")
}

func TestChildThatEndsIsReportedWithItsLog(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	logFile := filepath.Join(t.TempDir(), "child.log")
	c, err := Start([]string{self, "supervise", "--"}, "child", logFile, os.Environ(), "sh", "-c", "echo no such topic; exit 3")
	require.NoError(t, err)
	err = c.Wait(t.Context())
	assert.ErrorContains(t, err, "child ended with exit code 3")
	assert.ErrorContains(t, err, logFile)
	assert.ErrorContains(t, err, "no such topic")
}

// What is frozen does nothing until it is thawed, and is stopped all the same.
func TestAChildIsFrozen(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	dir := t.TempDir()
	beats := filepath.Join(dir, "beats")
	c, err := Start([]string{self, "supervise", "--"}, "child", filepath.Join(dir, "log"), os.Environ(), "sh", "-c", `while :; do echo x >> $0; sleep 0.01; done`, beats)
	require.NoError(t, err)
	beating := func() func() bool {
		before, _ := os.ReadFile(beats)
		return func() bool { now, _ := os.ReadFile(beats); return len(now) > len(before)+2 }
	}
	eventually(t, "it runs", beating())
	require.NoError(t, c.Freeze())
	eventually(t, "it is frozen", func() bool {
		on := beating()
		time.Sleep(100 * time.Millisecond) // ten beats
		return !on()
	})
	require.NoError(t, c.Thaw())
	eventually(t, "it goes on", beating())
	require.NoError(t, c.Freeze())
	require.NoError(t, c.Kill())
	<-c.Done()
	require.NoError(t, c.Freeze(), "of what has ended")
}

func TestAPartKnowsTheProcessOfItsProgram(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is no /proc")
	}
	self, err := os.Executable()
	require.NoError(t, err)
	logFile := filepath.Join(t.TempDir(), "child.log")
	part := &Part{Name: "child", Fatal: func(error) bool { return true }, Tell: func(string, ...any) {}, Launch: func(context.Context) (Process, error) {
		return Start([]string{self, "supervise", "--"}, "child", logFile, os.Environ(), "sh", "-c", "echo $$; exec sleep 60")
	}}
	require.NoError(t, part.Start(t.Context()))
	said := "(nothing)"
	eventually(t, "the child runs", func() bool { said = LastLine(logFile); return said != "(nothing)" })
	pid, err := part.PID()
	require.NoError(t, err)
	assert.Equal(t, said, fmt.Sprint(pid))
	require.NoError(t, part.Stop(t.Context()))
	_, err = part.PID()
	assert.EqualError(t, err, "child is stopped")
}

// eventually polls until ok, for a minute at most.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, time.Minute, 20*time.Millisecond, what)
}
