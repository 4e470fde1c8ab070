package main

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

// child is one program that runs under a supervisor (see supervise), with its output in a log file.
type child struct {
	name    string
	logFile string
	group   int           // of the supervisor and the program
	stdin   io.Closer     // closing it stops the program
	over    chan struct{} // closed when the program has ended
	err     error         // how it ended; to be read after over is closed
}

// startChild starts supervisor (a command prefix) with the program and its arguments behind it. The program sees env and nothing
// else of the environment. It does not wait for the program to be ready. The child has a session of its own, so that a Ctrl-C in
// the terminal reaches only the demo, which then stops its children in order.
func startChild(supervisor []string, name, logFile string, env []string, args ...string) (*child, error) {
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
	c := &child{name: name, logFile: logFile, group: cmd.Process.Pid, stdin: stdin, over: make(chan struct{})}
	go func() {
		c.err = cmd.Wait()
		close(c.over)
	}()
	return c, nil
}

// stop ends the program in order and waits for it, at most until ctx ends. Stopping a program that has ended is no error.
func (c *child) stop(ctx context.Context) error {
	_ = c.stdin.Close()
	select {
	case <-c.over:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s did not stop: %w", c.name, ctx.Err())
	}
}

// wait blocks until the program has ended by itself or ctx ends; an exit code other than 0 is an error that names the log.
func (c *child) wait(ctx context.Context) error {
	select {
	case <-c.over:
	case <-ctx.Done():
		return fmt.Errorf("%s has not finished: %w", c.name, ctx.Err())
	}
	if c.err == nil {
		return nil
	}
	return c.ended()
}

// kill ends the program and its supervisor at once.
func (c *child) kill() error {
	if err := syscall.Kill(-c.group, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("kill %s: %w", c.name, err)
	}
	return nil
}

func (c *child) done() <-chan struct{} { return c.over }

// ended describes a program that ended although it should not have.
func (c *child) ended() error {
	var exit *exec.ExitError
	how := "ended"
	if errors.As(c.err, &exit) {
		how = "ended with exit code " + strconv.Itoa(exit.ExitCode())
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			how = "was ended by a signal: " + status.Signal().String()
		}
	}
	return fmt.Errorf("%s %s; its log is %s and ends: %s", c.name, how, c.logFile, lastLine(c.logFile))
}

// lastLine returns the last line of a log that says anything, or a word for its absence.
func lastLine(file string) string {
	text, err := os.ReadFile(file)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if last := lines[len(lines)-1]; err == nil && last != "" {
		return last
	}
	return "(nothing)"
}
