package service

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	tracingtest.AsProgram(func() { // for TestSignals
		os.Exit(Main("example", "", func(ctx context.Context, _ testConfig, log *slog.Logger) error {
			log.Info("running")
			<-ctx.Done()
			if os.Getenv("STUBBORN") == "yes" {
				select {}
			}
			return fmt.Errorf("work: %w", ctx.Err())
		}))
	})
	tracingtest.VerifyMain(m)
}

func TestWrongUsageIsOneSentence(t *testing.T) {
	for arg, want := range map[string]string{
		"--verbose": "example: unknown flag: --verbose; example --help tells what there is\n",
		"start":     "example: unexpected argument \"start\"; example --help tells what there is\n",
	} {
		p, stdout, stderr := testProgram(nil)
		assert.Equal(t, 2, p.main([]string{arg}))
		assert.Empty(t, stdout.String())
		assert.Equal(t, want, stderr.String())
	}
}

func TestVersion(t *testing.T) {
	p, stdout, _ := testProgram(nil, "LOG_LEVEL=wrong settings do not matter here")
	assert.Equal(t, 0, p.main([]string{"--version"}))
	assert.Regexp(t, `^example dev \(go1\..* linux/.*\)\n$`, stdout.String())
}

func TestRunDecidesTheExitCode(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want int
	}{
		{"no error", nil, 0},
		{"an error", errors.New("boom"), 1},
		{"cancelled, but not by a signal", context.Canceled, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, _, stderr := testProgram(func(context.Context, testConfig, *slog.Logger) error { return tt.err })
			assert.Equal(t, tt.want, p.main(nil))
			if tt.err != nil {
				assert.Contains(t, stderr.String(), `"err":"`+tt.err.Error()+`"`)
			}
		})
	}
}

func TestErrorsOfStoppingAreMoreThanCancelled(t *testing.T) {
	cancelled := fmt.Errorf("poll: %w", context.Canceled)
	boom := errors.New("boom")
	assert.True(t, onlyCanceled(cancelled))
	assert.True(t, onlyCanceled(errors.Join(cancelled, errors.Join(context.Canceled))))
	assert.False(t, onlyCanceled(errors.Join(cancelled, boom)))
	assert.False(t, onlyCanceled(fmt.Errorf("run: %w", errors.Join(cancelled, boom))))
}

func TestLogIsJSONElsewhereThanOnATerminal(t *testing.T) {
	run := func(_ context.Context, _ testConfig, log *slog.Logger) error {
		log.Info("hello")
		log.Debug("not to be seen")
		return nil
	}
	p, _, stderr := testProgram(run)
	require.Equal(t, 0, p.main(nil))
	var lines []map[string]any
	for d := json.NewDecoder(stderr); d.More(); {
		var line map[string]any
		require.NoError(t, d.Decode(&line))
		assert.Equal(t, "example", line["service"])
		lines = append(lines, line)
	}
	require.Len(t, lines, 3)
	assert.Equal(t, "hello", lines[1]["msg"])

	p, _, stderr = testProgram(run, "LOG_FORMAT=text", "LOG_LEVEL=debug")
	require.Equal(t, 0, p.main(nil))
	assert.Contains(t, stderr.String(), `level=DEBUG msg="not to be seen" service=example`)
}

func TestNoLogLineSteersATerminal(t *testing.T) {
	const hostile = "x\x1b[2J\u009b31m\u202egpj\r\n\u200b\x7f"
	for _, format := range []string{"json", "text"} {
		p, _, stderr := testProgram(func(_ context.Context, _ testConfig, log *slog.Logger) error {
			log.Info(hostile, hostile, hostile, "any", []string{hostile})
			return errors.New(hostile)
		}, "LOG_FORMAT="+format)
		require.Equal(t, 1, p.main(nil))
		for _, r := range stderr.String() {
			assert.True(t, strconv.IsPrint(r) || r == '\n', "%U in %q", r, stderr)
		}
		if format == "json" {
			assert.Equal(t, 3, strings.Count(stderr.String(), "\n"))
			for line := range strings.Lines(stderr.String()) {
				assert.True(t, json.Valid([]byte(line)), line)
			}
			assert.Contains(t, stderr.String(), `"err":"x\u001b[2J\u009b31m\u202egpj\r\n\u200b\u007f"`)
		}
	}
	p, _, stderr := testProgram(nil)
	require.Equal(t, 2, p.main([]string{"\x1b[2J\u202e"}))
	assert.NotContains(t, stderr.String(), "\x1b")
	assert.NotContains(t, stderr.String(), "\u202e")
}

func TestSignals(t *testing.T) {
	for _, tt := range []struct {
		name, stubborn string
		signals        []syscall.Signal
		want           string
	}{
		{"SIGTERM is a success", "no", []syscall.Signal{syscall.SIGTERM}, "exit status 0"},
		{"SIGINT is a success", "no", []syscall.Signal{syscall.SIGINT}, "exit status 0"},
		{"a second signal ends at once", "yes", []syscall.Signal{syscall.SIGTERM, syscall.SIGINT}, "signal: interrupt"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cmd := tracingtest.Program(t, []string{"STUBBORN=" + tt.stubborn, "LOG_FORMAT=json"})
			stderr, err := cmd.StderrPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			// After each of these lines the program takes the next signal.
			awaited := []string{"running", "stopping"}
			lines := bufio.NewScanner(stderr)
			for sent := 0; lines.Scan(); {
				var line struct{ Msg string }
				require.NoError(t, json.Unmarshal(lines.Bytes(), &line), lines.Text())
				if sent < len(tt.signals) && line.Msg == awaited[sent] {
					require.NoError(t, cmd.Process.Signal(tt.signals[sent]))
					sent++
				}
			}
			_ = cmd.Wait()
			assert.Equal(t, tt.want, cmd.ProcessState.String())
		})
	}
}

func TestEveryProgramHasTheCommonSettings(t *testing.T) {
	assert.Equal(t, Common{LogFormat: "json"}, common(testConfig{Common: Common{LogFormat: "json"}}))
	assert.Panics(t, func() { common(struct{ Tracing Tracing }{}) })
}
