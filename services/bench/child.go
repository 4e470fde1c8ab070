package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
)

const stopGrace = 10 * time.Second // between SIGTERM and SIGKILL

// child is a program under measurement, a process of its own with its output in
// a log file.
type child struct {
	name string
	log  string // name of the file
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how, valid after done
}

// startChild starts a program. It sees env and nothing else of the environment.
// Its output goes to the end of dir/name.log; its standard output to stdout
// instead, unless that is nil. A Ctrl-C on the terminal does not reach it: this
// process decides when it ends. On Linux it is killed when this process is gone.
func startChild(name, dir string, env []string, stdout io.Writer, command ...string) (*child, error) {
	c := &child{name: name, log: filepath.Join(dir, name+".log"), cmd: exec.Command(command[0], command[1:]...), done: make(chan struct{})}
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer log.Close()
	c.cmd.Env, c.cmd.Stdout, c.cmd.Stderr = env, log, log
	if stdout != nil {
		c.cmd.Stdout = stdout
	}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(c.cmd.SysProcAttr)
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // what dies with the parent dies with this thread
		err := c.cmd.Start()
		started <- err
		if err == nil {
			c.err = c.cmd.Wait()
			close(c.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return c, nil
}

// stop ends the program in order, or kills it if that takes too long. A program
// that has ended is left alone.
func (c *child) stop() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // fails if it has ended
	select {
	case <-c.done:
	case <-time.After(stopGrace):
		c.kill()
	}
}

// kill ends the program at once, by SIGKILL.
func (c *child) kill() {
	_ = c.cmd.Process.Kill() // fails if it has ended
	<-c.done
}

// check returns an error if the program has ended.
func (c *child) check() error {
	select {
	case <-c.done:
		return c.failed("ended by itself")
	default:
		return nil
	}
}

// wait blocks until the program has ended by itself, and kills it when ctx ends.
func (c *child) wait(ctx context.Context) error {
	select {
	case <-c.done:
	case <-ctx.Done():
		c.stop()
		return ctx.Err()
	}
	if c.err != nil {
		return c.failed("failed")
	}
	return nil
}

// failed is an error that shows the end of the log.
func (c *child) failed(how string) error {
	const most = 2000
	log, _ := os.ReadFile(c.log)
	return fmt.Errorf("%s %s; %s ends:\n%s", c.name, how, c.log, strings.TrimSpace(string(log[max(0, len(log)-most):])))
}

// cpu is the time that the program has used so far, user and system; 0 where
// there is no /proc.
func (c *child) cpu() time.Duration {
	p, err := procfs.NewProc(c.cmd.Process.Pid)
	if err != nil {
		return 0
	}
	stat, err := p.Stat()
	if err != nil {
		return 0
	}
	return time.Duration(stat.CPUTime() * float64(time.Second))
}

// peak is the most memory that was resident, in bytes; 0 where there is no
// /proc. (The figure of wait4 is no help: it starts with that of the parent.)
func (c *child) peak() uint64 {
	p, err := procfs.NewProc(c.cmd.Process.Pid)
	if err != nil {
		return 0
	}
	status, err := p.NewStatus()
	if err != nil {
		return 0
	}
	return status.VmHWM
}

// await polls until ready says nil, the program has ended, ctx has, or some time
// has passed.
func (c *child) await(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-c.done:
			return c.failed("ended by itself")
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			return c.failed(fmt.Sprintf("is not ready (%v)", err))
		}
	}
}

// freeAddr returns an address of this machine that nothing listens on.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
