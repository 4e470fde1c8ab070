package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// program prepares a run of stream, and keeps what it prints.
func program(t *testing.T, env []string, args ...string) (*exec.Cmd, *tracingtest.Log) {
	t.Helper()
	out := new(tracingtest.Log)
	cmd := tracingtest.Program(t, env, args...)
	cmd.Stdout, cmd.Stderr = out, out
	return cmd, out
}

func TestTheProgramFromStartToSIGTERM(t *testing.T) {
	t.Parallel()
	b := startBroker(t, 3)
	b.CreateTopics(t, 1, "tracing-topic")
	feed(t, b, texts("6", "7", "seven")...)
	env := []string{"KAFKA_BROKERS=" + b.Addr(), "HTTP_ADDR=" + tracingtest.FreeAddr(t), "SESSION_TIMEOUT=6s"}
	cmd, out := program(t, env)
	require.NoError(t, cmd.Start())

	require.Eventually(t, func() bool {
		check, _ := program(t, env, "--healthcheck")
		return check.Run() == nil
	}, patience, 50*time.Millisecond)
	spans := tracingtest.SpansOnTopic(t, b.Addr(), "tracing-topic", 6)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	began := time.Now()
	err := cmd.Wait()

	assert.NoError(t, err, out.String())
	assert.Less(t, time.Since(began), 8*time.Second)
	assert.Contains(t, out.String(), "stopped")
	assert.Len(t, spans, 6)
	assertChains(t, spans)
	for _, s := range spans {
		assert.Equal(t, "stream", s.Service)
	}
	for _, operation := range []string{"To_even-topic", "To_odd-topic", "To_number-dlq"} {
		assert.Equal(t, "producer", tracingtest.Named(t, spans, operation).Tags["span.kind"])
	}
	assert.Equal(t, int64(3), committed(t, b))
}

func TestTheProgramStopsWhileItWaitsForKafka(t *testing.T) {
	t.Parallel()
	cmd, out := program(t, []string{"KAFKA_BROKERS=" + tracingtest.FreeAddr(t), "HTTP_ADDR=" + tracingtest.FreeAddr(t)})
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "waiting for kafka") }, patience, 10*time.Millisecond)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	assert.NoError(t, cmd.Wait(), out.String())
}

func TestTheProgramLosesNothingHoweverItEnds(t *testing.T) {
	tests := []struct {
		name string
		end  func(*tracingtest.Broker, *os.Process) error
	}{
		{"SIGTERM while Kafka is away", func(b *tracingtest.Broker, p *os.Process) error {
			b.Stop()
			return p.Signal(syscall.SIGTERM)
		}},
		{"SIGKILL", func(_ *tracingtest.Broker, p *os.Process) error { return p.Kill() }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			const count = 20_000
			b := startBroker(t, 3)
			b.CreateTopics(t, 1, "tracing-topic")
			var values [][]byte
			for i := range count {
				values = append(values, fmt.Append(nil, i))
			}
			feed(t, b, values...)
			env := []string{"KAFKA_BROKERS=" + b.Addr(), "HTTP_ADDR=" + tracingtest.FreeAddr(t), "SESSION_TIMEOUT=6s", "SHUTDOWN_TIMEOUT=4s"}
			cmd, out := program(t, env)
			require.NoError(t, cmd.Start())
			tracingtest.ReadTopic(t, b.Addr(), "even-topic", count/8) // some of it is committed by then

			began := time.Now()
			require.NoError(t, tt.end(b, cmd.Process))
			_ = cmd.Wait() // spans left behind are an error, a kill is one too
			assert.Less(t, time.Since(began), 6*time.Second, out.String())
			require.NoError(t, b.Start())
			cmd, out = program(t, env)
			require.NoError(t, cmd.Start())

			sorted := map[string]bool{}
			require.Eventually(t, func() bool {
				for _, topic := range []string{"even-topic", "odd-topic"} {
					for _, r := range tracingtest.ReadTopic(t, b.Addr(), topic, 0) {
						sorted[string(r.Value)] = true
					}
				}
				return len(sorted) == count
			}, patience, 100*time.Millisecond, "%d numbers lost", count-len(sorted))
			require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
			assert.NoError(t, cmd.Wait(), out.String())
		})
	}
}

func TestHelpListsTheSettings(t *testing.T) {
	cmd, out := program(t, nil, "--help")
	require.NoError(t, cmd.Run())
	for _, name := range []string{"NUMBER_TOPIC", "EVEN_TOPIC", "ODD_TOPIC", "NUMBER_DLQ", "KAFKA_BROKERS", "TRACING_TOPIC", "HTTP_ADDR"} {
		assert.Contains(t, out.String(), name)
	}
}
