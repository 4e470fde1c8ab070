package systemtest

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// process is a program that was started.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	log  string        // name of its log file
}

// startProcess starts a program that dies with the test. What it writes goes to
// the end of the file named log.
func startProcess(t *testing.T, name, log string, env []string, command ...string) *process {
	t.Helper()
	p := &process{name: name, cmd: exec.Command(command[0], command[1:]...), done: make(chan struct{}), log: log}
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	require.NoError(t, err)
	defer out.Close()
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = env, out, out
	dieWithParent(p.cmd)
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // what dies with the parent dies with this thread
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait()
			close(p.done)
		}
	}()
	require.NoError(t, <-started, "start %s", name)
	return p
}

// ended waits for the end and fails the test when it does not come in time.
func (p *process) ended(t *testing.T, within time.Duration) {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(within):
		t.Fatalf("%s has not ended after %s", p.name, within)
	}
}

// terminate asks the program to end, as an operator does, and waits for it.
func (p *process) terminate(t *testing.T, within time.Duration) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM), "%s has ended by itself", p.name)
	p.ended(t, within)
}

// kill ends the program at once and returns when it is gone. Killing one that
// has ended does nothing.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// running tells whether it has not ended.
func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// bury kills the program and shows the end of the log of a failed test.
func (p *process) bury(t *testing.T) {
	p.kill()
	if t.Failed() {
		log, _ := os.ReadFile(p.log)
		t.Logf("log of %s, its end:\n%s", p.name, log[max(0, len(log)-8000):])
	}
}

// eventually polls until holds says true; its text tells how things stand.
func eventually(t *testing.T, within time.Duration, what string, holds func() (string, bool)) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		text, ok := holds()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not in %s: %s: %s", within, what, text)
		}
		select {
		case <-t.Context().Done():
		case <-time.After(poll):
		}
	}
}
