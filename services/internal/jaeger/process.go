// Package jaeger runs a real Jaeger as a child process and asks its query API.
// It is for the demo and the tests: in production Jaeger is run by whoever runs
// it, and the relay only knows its address.
//
// What the running Jaeger promises comes from deploy/jaeger/jaeger.yaml: a batch
// that was answered with 2xx is there after the process was killed.
package jaeger

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
)

// host is where Jaeger listens, and nowhere else.
const host = "127.0.0.1"

// Options say where a Jaeger is and where it keeps its things.
type Options struct {
	Binary     string // what deploy/jaeger/build makes
	ConfigFile string // deploy/jaeger/jaeger.yaml, which may refer to ui.json beside it
	UIDir      string // the files of the UI; empty: the placeholder in the binary
	DataDir    string // the traces; made if it is missing
	LogFile    string // appended to; made if it is missing

	OTLPPort      int
	CollectorPort int
	QueryPort     int

	// Wrap is put before the command line of Jaeger, for a program that ends
	// it when this process is gone. It finds out by its standard input, a pipe
	// that this process holds open. It must not end before Jaeger has: signals
	// go to both.
	Wrap []string
}

// Process is a Jaeger that can be started, stopped and started again, on the same
// ports and with the same traces. Its methods are safe for several
// goroutines, and Start, Stop and Kill wait for each other.
type Process struct {
	opts Options
	mu   sync.Mutex // held while it is started or stopped
	last atomic.Pointer[run]
}

// run is one life of the process.
type run struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how it ended, valid after done
}

// New returns a Jaeger that is not started yet.
func New(opts Options) *Process { return &Process{opts: opts} }

// Start starts Jaeger and returns when its collector and its query API answer.
// When it ends early or ctx does, nothing is left running and the error holds
// the end of its log.
//
// On Linux Jaeger is killed when this process ends, however it does; elsewhere
// that takes a Wrap.
func Start(ctx context.Context, opts Options) (*Process, error) {
	p := New(opts)
	if err := p.Start(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

// Start starts it, or starts it again after it has ended, with the same contract
// as the function Start.
func (p *Process) Start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.last.Load().ended() {
		return errors.New("start jaeger: it is running")
	}
	for _, port := range []int{p.opts.OTLPPort, p.opts.CollectorPort, p.opts.QueryPort} {
		if err := checkFree(port); err != nil {
			return fmt.Errorf("start jaeger: %w", err)
		}
	}
	r, err := p.opts.start()
	if err != nil {
		return fmt.Errorf("start jaeger: %w", err)
	}
	if err := p.waitReady(ctx, r); err != nil {
		_ = r.kill()
		return fmt.Errorf("start jaeger: %w; the end of %s:\n%s", err, p.opts.LogFile, tail(p.opts.LogFile))
	}
	p.last.Store(r)
	return nil
}

// Stop asks Jaeger to end (SIGTERM) and returns when it has. When ctx ends first
// it is killed, and the error says so. It is nil when nothing was running.
func (p *Process) Stop(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.last.Load()
	if r.ended() {
		return nil
	}
	if err := r.signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop jaeger: %w", err)
	}
	select {
	case <-r.done:
		if r.err != nil {
			return fmt.Errorf("stop jaeger: %w", r.err)
		}
		return nil
	case <-ctx.Done():
		_ = r.kill()
		return fmt.Errorf("stop jaeger: killed, because it did not end in time: %w", ctx.Err())
	}
}

// Kill ends Jaeger at once (SIGKILL) and returns when it is gone. It is nil when
// nothing was running.
func (p *Process) Kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.last.Load()
	if r.ended() {
		return nil
	}
	if err := r.kill(); err != nil {
		return fmt.Errorf("kill jaeger: %w", err)
	}
	return nil
}

// Freeze stops Jaeger where it is, until Thaw: it takes connections, and answers
// nobody. Nothing is done when it does not run.
func (p *Process) Freeze() error { return p.last.Load().signal(syscall.SIGTSTP) }

// Thaw lets Jaeger go on.
func (p *Process) Thaw() error { return p.last.Load().signal(syscall.SIGCONT) }

// Group is the process group of Jaeger and what it is wrapped in, which leads it.
func (p *Process) Group() int { return p.last.Load().cmd.Process.Pid }

// Done is closed when Jaeger has ended, for whatever reason. After another
// Start it is another channel.
func (p *Process) Done() <-chan struct{} { return p.last.Load().done }

// OTLPEndpoint is the URL that takes requests of OTLP.
func (p *Process) OTLPEndpoint() string { return p.opts.url(p.opts.OTLPPort) + "/v1/traces" }

// Endpoint is the URL that takes batches of jaeger.thrift.
func (p *Process) Endpoint() string { return p.opts.url(p.opts.CollectorPort) + "/api/traces" }

// QueryURL is the URL of the UI and, for NewQuery, of its API.
func (p *Process) QueryURL() string { return p.opts.url(p.opts.QueryPort) }

func (o Options) url(port int) string {
	return "http://" + net.JoinHostPort(host, strconv.Itoa(port))
}

// start starts the process, in a group of its own: a Ctrl-C on the terminal is
// for this process, which decides when Jaeger ends.
func (o Options) start() (*run, error) {
	log, err := os.OpenFile(o.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	args := append(append([]string{}, o.Wrap...), o.Binary, "--config", o.ConfigFile)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(),
		"JAEGER_LISTEN_HOST="+host,
		"JAEGER_OTLP_PORT="+strconv.Itoa(o.OTLPPort),
		"JAEGER_COLLECTOR_PORT="+strconv.Itoa(o.CollectorPort),
		"JAEGER_QUERY_PORT="+strconv.Itoa(o.QueryPort),
		"JAEGER_HEALTH_PORT=0",
		"JAEGER_DATA_DIR="+o.DataDir,
		"JAEGER_UI_DIR="+o.UIDir,
		"JAEGER_UI_CONFIG="+filepath.Join(filepath.Dir(o.ConfigFile), "ui.json"),
	)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if len(o.Wrap) == 0 {
		dieWithParent(cmd.SysProcAttr)
	}
	if _, err := cmd.StdinPipe(); err != nil { // cmd holds it open
		return nil, err
	}
	r := &run{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// Linux ties "die with the parent" to the thread that started the
		// child. This one stays until the child has ended.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			r.err = cmd.Wait()
			close(r.done)
		}
	}()
	return r, <-started
}

func (r *run) ended() bool {
	if r == nil {
		return true
	}
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

func (r *run) kill() error {
	err := r.signal(syscall.SIGKILL)
	if err == nil {
		<-r.done
	}
	return err
}

// signal signals Jaeger and what it is wrapped in. That they have just ended is
// no error.
func (r *run) signal(s syscall.Signal) error {
	if r.ended() {
		return nil
	}
	err := syscall.Kill(-r.cmd.Process.Pid, s)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}
