// Package service is the shell that every program of the system shares: flags, settings from the environment, logger, signals,
// bounded teardown and the HTTP server for operators. It knows nothing of what a service does.
package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"reflect"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"fault-tolerant-tracing/services/internal/printable"
)

// Version is the version that --version prints, set when building:
// -ldflags "-X fault-tolerant-tracing/services/internal/service.Version=1.2.3".
var Version = "dev"

// Exit codes of Main.
const (
	exitOK     = 0
	exitFailed = 1 // run returned an error, or the health check failed
	exitUsage  = 2 // wrong flags or settings: nothing was started
)

// Main runs a program and returns its exit code; it is called as os.Exit(service.Main("random", doc, run)).
//
// It answers --help (doc and a table of the settings), --version and --healthcheck. Otherwise it reads the settings struct C, which has
// a field Common of that type, from the environment, and calls run. The first SIGINT or SIGTERM cancels run's context, and what run returns because of that
// counts as success; a second one ends the process at once. An error of run is logged and gives exit code 1. Wrong flags or
// settings are told on stderr, all at once, and give exit code 2.
//
// A program may have commands besides, made with Command and Commands; its own name alone calls run all the same.
func Main[C any](name, doc string, run func(ctx context.Context, cfg C, log *slog.Logger) error, commands ...*cobra.Command) int {
	p := program[C]{name: name, doc: doc, run: run, commands: commands, stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ()}
	return p.main(os.Args[1:])
}

// program is Main with its surroundings as values.
type program[C any] struct {
	name, doc      string
	run            func(context.Context, C, *slog.Logger) error
	commands       []*cobra.Command
	stdout, stderr io.Writer
	environ        []string
}

func (p program[C]) main(args []string) int {
	code := exitOK
	cmd, err := p.root(args, &code).ExecuteC()
	if err == nil {
		return code
	}
	told, stderr := hide(err.Error(), given(p.environ, args)), printable.Writer(p.stderr)
	if exit := (*exitError)(nil); errors.As(err, &exit) {
		fmt.Fprintf(stderr, "%s: %s\n", cmd.CommandPath(), told)
		return exit.code
	}
	fmt.Fprintf(stderr, "%s: %s; %[1]s --help tells what there is\n", cmd.CommandPath(), told)
	return exitUsage
}

// root returns the program as a command, which leaves its exit code in code.
func (p program[C]) root(args []string, code *int) *cobra.Command {
	root := &cobra.Command{
		Use: p.name + " [flag]", Long: p.doc, Args: noArguments,
		SilenceErrors: true, SilenceUsage: true, DisableFlagsInUseLine: true,
	}
	root.Flags().SortFlags = false
	root.Flags().BoolP("help", "h", false, "this text")
	version := root.Flags().Bool("version", false, "version of the program")
	health := root.Flags().Bool("healthcheck", false, "exit 0 if the running program is well, 1 if not")
	root.RunE = func(*cobra.Command, []string) error {
		if *version {
			fmt.Fprintf(p.stdout, "%s %s (%s %s/%s)\n", p.name, Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		}
		var cfg C
		if err := Load(&cfg, p.environ); err != nil {
			return &exitError{exitUsage, err}
		}
		if *health {
			*code = p.healthcheck(cfg)
		} else {
			*code = p.start(cfg)
		}
		return nil
	}
	root.SetHelpFunc(helpOf(new(C)))
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(&cobra.Command{Hidden: true})
	root.AddCommand(p.commands...)
	root.SetArgs(append([]string{}, args...)) // nil would mean those of the process
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	return root
}

// start runs the program until it ends by itself or by a signal.
func (p program[C]) start(cfg C) int {
	log := newLogger(p.stderr, p.name, common(cfg))
	ctx, stop := untilSignal(context.Background(), func(cause error) { log.Info("stopping", "cause", cause) })
	defer stop()

	begin := time.Now()
	log.Info("starting", "version", Version)
	for _, s := range misspelt(&cfg, p.environ) {
		log.Warn("this variable is no setting and is ignored, another one may be meant", "variable", s.variable, "setting", s.setting)
	}
	err := p.run(ctx, cfg, log)
	if err != nil && !(ctx.Err() != nil && onlyCanceled(err)) {
		log.Error("failed", "err", err, "took", time.Since(begin))
		return exitFailed
	}
	log.Info("stopped", "took", time.Since(begin))
	return exitOK
}

// common returns the field Common of a settings struct. It panics if there is none.
func common(cfg any) Common { return reflect.ValueOf(cfg).FieldByName("Common").Interface().(Common) }

// untilSignal returns a context that the first SIGINT or SIGTERM cancels; told is called then. A second one ends the process at
// once.
func untilSignal(parent context.Context, told func(cause error)) (ctx context.Context, stop func()) {
	ctx, release := signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	unwatch := context.AfterFunc(ctx, func() {
		release() // from here on a signal ends the process at once
		told(context.Cause(ctx))
	})
	return ctx, func() {
		unwatch()
		release()
	}
}

// onlyCanceled tells whether every error joined in err comes from a cancelled context: then it says nothing but that the
// program was told to stop.
func onlyCanceled(err error) bool {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			if !onlyCanceled(e) {
				return false
			}
		}
		return true
	}
	if inner := errors.Unwrap(err); inner != nil {
		return onlyCanceled(inner)
	}
	return errors.Is(err, context.Canceled)
}
