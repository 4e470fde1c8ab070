package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// Child is one program that runs under a supervisor (see [Supervise]), with its output in a log file. It is a [Process].
type Child struct {
	name    string
	logFile string
	group   int           // of the supervisor, which leads it, and the program
	stdin   io.Closer     // closing it stops the program
	over    chan struct{} // closed when the program has ended
	err     error         // how it ended; to be read after over is closed
}

// Start starts supervisor (a command prefix) with the program and its arguments behind it. The program sees env and nothing
// else of the environment. It does not wait for the program to be ready. The child has a session of its own, so that a Ctrl-C in
// the terminal reaches only this process, which then stops its children in order.
func Start(supervisor []string, name, logFile string, env []string, args ...string) (*Child, error) {
	out, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer out.Close() // the child has its own descriptor

	argv := append(append([]string{}, supervisor...), args...)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = env
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	c := &Child{name: name, logFile: logFile, group: cmd.Process.Pid, stdin: stdin, over: make(chan struct{})}
	go func() {
		c.err = cmd.Wait()
		close(c.over)
	}()
	return c, nil
}

// Stop ends the program in order and waits for it, at most until ctx ends. Stopping a program that has ended is no error.
func (c *Child) Stop(ctx context.Context) error {
	_ = c.stdin.Close()
	select {
	case <-c.over:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s did not stop: %w", c.name, ctx.Err())
	}
}

// Wait blocks until the program has ended by itself or ctx ends; an exit code other than 0 is an error that names the log.
func (c *Child) Wait(ctx context.Context) error {
	select {
	case <-c.over:
	case <-ctx.Done():
		return fmt.Errorf("%s has not finished: %w", c.name, ctx.Err())
	}
	if c.err == nil {
		return nil
	}
	return c.Ended()
}

// Kill ends the program and its supervisor at once.
func (c *Child) Kill() error {
	if err := syscall.Kill(-c.group, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("kill %s: %w", c.name, err)
	}
	return nil
}

// Freeze stops the program where it is, until Thaw, as SIGSTOP does. Its supervisor goes on.
func (c *Child) Freeze() error { return c.signal(syscall.SIGTSTP) }

// Thaw lets the program go on.
func (c *Child) Thaw() error { return c.signal(syscall.SIGCONT) }

// Group is the process group of the supervisor, which leads it, and the program.
func (c *Child) Group() int { return c.group }

func (c *Child) signal(s syscall.Signal) error {
	if err := syscall.Kill(c.group, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal %s: %w", c.name, err)
	}
	return nil
}

// Done is closed when the program has ended.
func (c *Child) Done() <-chan struct{} { return c.over }

// Ended describes a program that ended although it should not have.
func (c *Child) Ended() error {
	var exit *exec.ExitError
	how := "ended"
	if errors.As(c.err, &exit) {
		how = "ended with exit code " + strconv.Itoa(exit.ExitCode())
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			how = "was ended by a signal: " + status.Signal().String()
		}
	}
	return fmt.Errorf("%s %s; its log is %s and ends: %s", c.name, how, c.logFile, LastLine(c.logFile))
}

// LastLine returns the last line of a log that says anything, or a word for its absence.
func LastLine(file string) string {
	text, err := os.ReadFile(file)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if last := lines[len(lines)-1]; err == nil && last != "" {
		return last
	}
	return "(nothing)"
}
