// Package service is the shell that every program of the system shares: flags, settings from the environment, logger, signals,
// bounded teardown, the HTTP server for operators, and waiting for Kafka at the start. It knows nothing of what a service does.
package service

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"
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

// settings is what Main asks of a settings struct: that it embeds Common.
type settings interface{ common() Common }

// Main runs a program and returns its exit code; it is called as os.Exit(service.Main("random", doc, run)).
//
// It answers --help (doc and a table of the settings), --version and --healthcheck. Otherwise it reads C, which embeds Common,
// from the environment, and calls run. The first SIGINT or SIGTERM cancels run's context, and what run returns because of that
// counts as success; a second one ends the process at once. An error of run is logged and gives exit code 1. Wrong flags or
// settings are told on stderr, all at once, and give exit code 2.
func Main[C settings](name, doc string, run func(ctx context.Context, cfg C, log *slog.Logger) error) int {
	p := program[C]{name: name, doc: doc, run: run, stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ()}
	return p.main(os.Args[1:])
}

// program is Main with its surroundings as values.
type program[C settings] struct {
	name, doc      string
	run            func(context.Context, C, *slog.Logger) error
	stdout, stderr io.Writer
	environ        []string
}

func (p program[C]) main(args []string) int {
	flags := flag.NewFlagSet(p.name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	version := flags.Bool("version", false, "")
	health := flags.Bool("healthcheck", false, "")
	err := flags.Parse(args)
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		writeHelp(p.stdout, p.name, p.doc, new(C))
		return exitOK
	case err != nil:
		fmt.Fprintf(p.stderr, "%s: %v; %s --help tells what there is\n", p.name, err, p.name)
		return exitUsage
	case *version:
		fmt.Fprintf(p.stdout, "%s %s (%s %s/%s)\n", p.name, Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return exitOK
	}
	var cfg C
	if err := Load(&cfg, p.environ); err != nil {
		fmt.Fprintf(p.stderr, "%s: %v\n", p.name, err)
		return exitUsage
	}
	if *health {
		return p.healthcheck(cfg)
	}
	return p.start(cfg)
}

// start runs the program until it ends by itself or by a signal.
func (p program[C]) start(cfg C) int {
	log := newLogger(p.stderr, p.name, cfg.common())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	unwatch := context.AfterFunc(ctx, func() {
		stop() // from here on a signal ends the process at once
		log.Info("stopping", "cause", context.Cause(ctx))
	})
	defer unwatch()

	begin := time.Now()
	log.Info("starting", "version", Version)
	err := p.run(ctx, cfg, log)
	if err != nil && !(ctx.Err() != nil && onlyCanceled(err)) {
		log.Error("failed", "err", err, "took", time.Since(begin))
		return exitFailed
	}
	log.Info("stopped", "took", time.Since(begin))
	return exitOK
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
