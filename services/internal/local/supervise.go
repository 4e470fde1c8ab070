package local

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

	"github.com/spf13/cobra"
)

// StopGrace is how long a program has between SIGTERM and SIGKILL. The services give themselves 8 s (SHUTDOWN_TIMEOUT), so 10 s
// is only ever used up by one that hangs.
const StopGrace = 10 * time.Second

// SuperviseCommand is "supervise -- command [argument...]": the supervisor of a [Child]. It leaves its exit code in code.
func SuperviseCommand(code *int) *cobra.Command {
	return &cobra.Command{
		Use:    "supervise -- command [argument...]",
		Short:  "Run one command until standard input ends",
		Hidden: true, // the program itself starts its children with it
		Args:   cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			var err error
			*code, err = Supervise(context.Background(), args, os.Stdin, StopGrace)
			return err
		},
	}
}

// Supervise runs one program until it ends by itself, until stdin reaches EOF or until ctx is cancelled, and returns its exit code.
// Who started it holds the other end of stdin: however that one ends, kill -9 included, the kernel closes that end and the program is
// stopped. It gets SIGTERM first and SIGKILL after grace. Its output goes where the supervisor's own goes. SIGTSTP freezes the program
// and SIGCONT thaws it; the supervisor itself goes on.
func Supervise(ctx context.Context, args []string, stdin io.Reader, grace time.Duration) (int, error) {
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
	err := cmd.Start()
	if err == nil {
		defer passOn(cmd.Process)()
		err = cmd.Wait()
	}

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

// passOn freezes and thaws a program as this process is told, until stop is called.
func passOn(program *os.Process) (stop func()) {
	told, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(told, syscall.SIGTSTP, syscall.SIGCONT)
	go func() {
		defer close(done)
		for s := range told {
			if s == syscall.SIGTSTP {
				s = syscall.SIGSTOP
			}
			_ = program.Signal(s) // it may have ended
		}
	}()
	return func() {
		signal.Stop(told)
		close(told)
		<-done
	}
}
