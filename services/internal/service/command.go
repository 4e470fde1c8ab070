package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// Command completes cmd, which has Use, Short, Long, Example, Args and flags, as a command of a program: it runs run with the
// settings struct C, read from the environment. C need not have a field Common. The command's --help tells its flags and these settings.
//
// The first SIGINT or SIGTERM cancels run's context, a second one ends the process at once. An error of run, also one of its
// context, is told on stderr in one sentence and gives exit code 1; an error made by Usage, wrong flags and wrong settings give 2.
func Command[C any](cmd *cobra.Command, run func(ctx context.Context, cfg C, args []string) error) *cobra.Command {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var cfg C
		if err := Load(&cfg, os.Environ()); err != nil {
			return &exitError{exitUsage, err}
		}
		for _, s := range misspelt(&cfg, os.Environ()) {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s is no setting and is ignored; is %s meant?\n", cmd.CommandPath(), s.variable, s.setting)
		}
		ctx, stop := untilSignal(cmd.Context(), func(error) {})
		defer stop()
		err := run(ctx, cfg, args)
		var usage *usageError
		switch {
		case err == nil || errors.As(err, &usage):
			return err
		case ctx.Err() != nil && onlyCanceled(err):
			err = errors.New("interrupted")
		}
		return &exitError{exitFailed, err}
	}
	if cmd.Args == nil {
		cmd.Args = noArguments
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().BoolP("help", "h", false, "this text")
	cmd.SetHelpFunc(helpOf(new(C)))
	return cmd
}

// holdsOnly is the annotation of a command that does nothing by itself.
const holdsOnly = "holds only"

// Commands is a command that does nothing but hold others: relay dlq.
func Commands(use, short, long string, commands ...*cobra.Command) *cobra.Command {
	group := &cobra.Command{Use: use + " COMMAND", Short: short, Long: long, DisableFlagsInUseLine: true, Annotations: map[string]string{holdsOnly: ""}}
	var names []string
	for _, c := range commands {
		names = append(names, c.Name())
	}
	group.RunE = func(*cobra.Command, []string) error { return nil } // its arguments have been refused
	group.Args = func(_ *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("unknown command %q, there are %s", args[0], strings.Join(names, ", "))
		}
		return fmt.Errorf("a command is missing, one of %s", strings.Join(names, ", "))
	}
	group.Flags().BoolP("help", "h", false, "this text")
	group.SetHelpFunc(helpOf(nil))
	group.AddCommand(commands...)
	return group
}

// Usage returns an error that says what is wrong with a command line beyond what its flags check one by one.
func Usage(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

type usageError struct{ error }

// exitError is an error with its exit code. What has none is wrong usage.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unexpected argument %q", args[0])
	}
	return nil
}
