package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"time"
)

// stopGrace is how long a program has between SIGTERM and SIGKILL. The services give themselves 8 s (SHUTDOWN_TIMEOUT), so 10 s
// is only ever used up by one that hangs.
const stopGrace = 10 * time.Second

// supervise runs one program until it ends by itself, until stdin reaches EOF or until ctx is cancelled, and returns its exit code.
// The demo holds the other end of stdin: however the demo ends, kill -9 included, the kernel closes that end and the program is
// stopped. It gets SIGTERM first and SIGKILL after grace. Its output goes where the supervisor's own goes.
func supervise(ctx context.Context, args []string, stdin io.Reader, grace time.Duration) (int, error) {
	// The kernel's own word that parent and child end together (Linux) counts for the thread that started the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, stdin) // ends at EOF or when stdin breaks: both say that nobody holds the other end
		cancel()
	}()

	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = dieWithParent()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = grace
	err := cmd.Run()

	var exit *exec.ExitError
	switch {
	case err == nil, ctx.Err() != nil && cmd.ProcessState != nil && cmd.ProcessState.Success():
		return 0, nil
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return exit.ExitCode(), nil
	default:
		return 1, fmt.Errorf("run %s: %w", args[0], err)
	}
}
