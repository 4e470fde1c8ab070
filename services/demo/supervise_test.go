package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fault-tolerant-tracing/services/internal/jaeger"
	"fault-tolerant-tracing/tracing"
)

func TestSuperviseReturnsTheExitCodeOfItsProgram(t *testing.T) {
	stdin, hold := io.Pipe()
	defer hold.Close()
	for _, want := range []int{0, 7} {
		code, err := supervise(t.Context(), []string{"sh", "-c", "exit " + string(rune('0'+want))}, stdin, stopGrace)
		require.NoError(t, err)
		assert.Equal(t, want, code)
	}
}

func TestSuperviseSaysWhatCannotBeStarted(t *testing.T) {
	code, err := supervise(t.Context(), []string{"./no-such-program"}, strings.NewReader(""), stopGrace)
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
				c, _ := supervise(context.Background(), []string{"sh", "-c", test.script, started}, stdin, test.grace)
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
	t.Setenv("KAFKA_BROKERS", "of the person who runs the demo")
	logFile := filepath.Join(t.TempDir(), "child.log")
	c, err := startChild([]string{self, "supervise", "--"}, "child", logFile, []string{"PATH=" + os.Getenv("PATH"), "ONE=1"},
		"sh", "-c", `env; trap 'echo stopped; exit 0' TERM; echo started; while :; do sleep 0.05; done`)
	require.NoError(t, err)
	eventually(t, "the child runs", func() bool { return lastLine(logFile) == "started" })
	require.NoError(t, c.stop(t.Context()))

	log, err := os.ReadFile(logFile)
	require.NoError(t, err)
	assert.Contains(t, string(log), "ONE=1\n")
	assert.NotContains(t, string(log), "KAFKA_BROKERS")
	assert.Equal(t, "stopped", lastLine(logFile))
	assert.NoError(t, c.stop(t.Context()), "a second stop")
}

// What a person has set for other runs must neither change this one nor be dropped in silence.
func TestAServiceSeesTheLogLevelAndNoOtherSettingOfTheEnvironment(t *testing.T) {
	settings := []string{"JAEGER_SAMPLER_TYPE", "KAFKA_BROKERS", "OTEL_EXPORTER_OTLP_ENDPOINT", "TRACING_KAFKA_BROKERS", "LOG_FORMAT"}
	for _, name := range settings {
		t.Setenv(name, "elsewhere:1")
	}
	t.Setenv("LOG_LEVEL", "debug")
	work := t.TempDir()
	d := &demo{transport: tracing.Kafka, root: work, work: work, supervisor: []string{"env"}, jaeger: jaeger.New(jaeger.Options{})}
	require.NoError(t, os.Mkdir(d.logs(), 0o755))
	require.NoError(t, os.Mkdir(d.bin(""), 0o755))
	require.NoError(t, os.WriteFile(d.bin("random"), []byte("#!/bin/sh\nenv\n"), 0o755))
	c, err := d.startChild("random", "random", 1)
	require.NoError(t, err)
	require.NoError(t, c.wait(t.Context()))
	log, err := os.ReadFile(d.log("random"))
	require.NoError(t, err)
	assert.Contains(t, string(log), "LOG_LEVEL=debug\n")
	assert.NotContains(t, string(log), "elsewhere:1")

	told := ignored(os.Environ())
	assert.Subset(t, told, settings)
	assert.NotContains(t, told, "LOG_LEVEL")
	assert.NotContains(t, told, "PATH")
}

func TestChildThatEndsIsReportedWithItsLog(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	logFile := filepath.Join(t.TempDir(), "child.log")
	c, err := startChild([]string{self, "supervise", "--"}, "child", logFile, os.Environ(), "sh", "-c", "echo no such topic; exit 3")
	require.NoError(t, err)
	err = c.wait(t.Context())
	assert.ErrorContains(t, err, "child ended with exit code 3")
	assert.ErrorContains(t, err, logFile)
	assert.ErrorContains(t, err, "no such topic")
}

// eventually polls until ok, for a minute at most.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, time.Minute, 20*time.Millisecond, what)
}
