package service

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
)

type fetchConfig struct {
	Source string `env:"SOURCE" envDefault:"here" oneof:"here,there" help:"where to fetch from"`
}

// fetchProgram is a program with the command "store fetch", and what that printed.
func fetchProgram(run func(context.Context, fetchConfig, []string) error) (func(args ...string) int, func() (stdout, stderr string)) {
	p, stdout, stderr := testProgram(nil)
	fetch := &cobra.Command{
		Use: "fetch NAME", Short: "Fetch one", Long: "Fetch gets the one of that name.", Example: "example store fetch --within 3s a",
		Args: cobra.ExactArgs(1),
	}
	fetch.Flags().Duration("within", time.Second, "how long it may take, as a `duration`")
	p.commands = []*cobra.Command{Commands("store", "Look into the store", "Store looks.", Command(fetch, run))}
	return func(args ...string) int { return p.main(args) }, func() (string, string) { return stdout.String(), stderr.String() }
}

func TestCommandsExitCodes(t *testing.T) {
	succeed := func(context.Context, fetchConfig, []string) error { return nil }
	for _, tt := range []struct {
		name string
		args []string
		run  func(context.Context, fetchConfig, []string) error
		code int
		told string
	}{
		{"success", []string{"store", "fetch", "a"}, succeed, 0, ""},
		{
			"failure", []string{"store", "fetch", "a"},
			func(context.Context, fetchConfig, []string) error { return errors.New("boom") }, 1, "example store fetch: boom\n",
		},
		{
			"wrong usage that the command finds", []string{"store", "fetch", "a"},
			func(context.Context, fetchConfig, []string) error { return Usage("no such %s", "name") }, 2,
			"example store fetch: no such name; example store fetch --help tells what there is\n",
		},
		{"no command", []string{"store"}, succeed, 2, "example store: a command is missing, one of fetch; example store --help tells what there is\n"},
		{"unknown command", []string{"store", "x"}, succeed, 2, "example store: unknown command \"x\", there are fetch; example store --help tells what there is\n"},
		{"unknown flag", []string{"store", "fetch", "--x", "a"}, succeed, 2, "example store fetch: unknown flag: --x; example store fetch --help tells what there is\n"},
		{"arguments", []string{"store", "fetch"}, succeed, 2, "example store fetch: accepts 1 arg(s), received 0; example store fetch --help tells what there is\n"},
		{"no command of that name", []string{"restore"}, succeed, 2, "example: unexpected argument \"restore\"; example --help tells what there is\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			program, output := fetchProgram(tt.run)
			assert.Equal(t, tt.code, program(tt.args...))
			stdout, stderr := output()
			assert.Empty(t, stdout)
			assert.Equal(t, tt.told, stderr)
		})
	}
}

func TestCommandsReadTheirOwnSettings(t *testing.T) {
	var got fetchConfig
	program, output := fetchProgram(func(_ context.Context, cfg fetchConfig, args []string) error {
		assert.Equal(t, []string{"a"}, args)
		got = cfg
		return nil
	})
	t.Setenv("SOURCE", "there")
	assert.Equal(t, 0, program("store", "fetch", "a"))
	assert.Equal(t, "there", got.Source)

	t.Setenv("SOURCE", "elsewhere")
	assert.Equal(t, 2, program("store", "fetch", "a"))
	_, stderr := output()
	assert.Equal(t, "example store fetch: a setting is wrong:\n  SOURCE=\"elsewhere\": must be one of here, there\n", stderr)
}

func TestCommandsHelp(t *testing.T) {
	for name, args := range map[string][]string{
		"help-commands.txt": {"store", "--help"},
		"help-command.txt":  {"store", "fetch", "-h"},
	} {
		program, output := fetchProgram(nil)
		assert.Equal(t, 0, program(args...))
		stdout, stderr := output()
		golden(t, name, stdout)
		assert.Empty(t, stderr)
	}
	program, output := fetchProgram(nil)
	assert.Equal(t, 0, program("--help"))
	stdout, _ := output()
	assert.Contains(t, stdout, "\nUsage: example [flag]\n       example COMMAND\n\n")
	assert.Contains(t, stdout, "\nCommands, each with a --help of its own:\n\n  example store fetch  Fetch one\n\nSettings")
}

func TestAnInterruptedCommandSaysSo(t *testing.T) {
	program, output := fetchProgram(func(ctx context.Context, _ fetchConfig, _ []string) error {
		interruptMyself(t)
		<-ctx.Done()
		return fmt.Errorf("fetch: %w", ctx.Err())
	})
	assert.Equal(t, 1, program("store", "fetch", "a"))
	_, stderr := output()
	assert.Equal(t, "example store fetch: interrupted\n", stderr)
}

func interruptMyself(t *testing.T) {
	t.Helper()
	assert.NoError(t, syscall.Kill(syscall.Getpid(), syscall.SIGINT))
}
