package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func startOps(t *testing.T, routes func(chi.Router)) (*Ops, string) {
	t.Helper()
	ops, err := Listen("127.0.0.1:0", slog.New(slog.DiscardHandler), routes)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, ops.Close(context.Background())) })
	return ops, ops.Addr()
}

// get returns status and body.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

func TestOpsAnswers(t *testing.T) {
	ops, addr := startOps(t, func(r chi.Router) {
		r.Get("/status", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "fine") })
	})
	numbers := prometheus.NewCounter(prometheus.CounterOpts{Name: "numbers_total", Help: "Numbers."})
	ops.Metrics().MustRegister(numbers)
	numbers.Inc()

	for _, tt := range []struct {
		path   string
		status int
		body   string
	}{
		{"/healthz", 200, "alive\n"},
		{"/readyz", 503, "not ready: starting\n"},
		{"/status", 200, "fine"},
		{"/nothing", 404, "There is nothing at /nothing.\n"},
	} {
		status, body := get(t, "http://"+addr+tt.path)
		assert.Equal(t, tt.status, status, tt.path)
		assert.Equal(t, tt.body, body, tt.path)
	}
	_, metrics := get(t, "http://"+addr+"/metrics")
	for _, name := range []string{"numbers_total 1", "go_goroutines", "process_cpu_seconds_total"} {
		assert.Contains(t, metrics, name)
	}

	ops.Ready(func() error { return nil })
	status, body := get(t, "http://"+addr+"/readyz")
	assert.Equal(t, 200, status)
	assert.Equal(t, "ready\n", body)
}

func TestProfilesAreThere(t *testing.T) {
	_, addr := startOps(t, nil)
	for _, path := range []string{"heap", "goroutine", "profile?seconds=1", "trace?seconds=0.1"} {
		status, body := get(t, "http://"+addr+"/debug/pprof/"+path)
		assert.Equal(t, 200, status, path)
		assert.NotEmpty(t, body, path)
	}
}

func TestProfilesAreForThisMachineOnly(t *testing.T) {
	ops, _ := startOps(t, nil)
	for _, tt := range []struct {
		from, host string
		status     int
	}{
		{"127.0.0.1:1", "localhost:8097", 200},
		{"127.8.8.8:1", "127.0.0.1:8097", 200},
		{"[::1]:1", "[::1]:8097", 200},
		{"[::ffff:127.0.0.1]:1", "localhost", 200},
		{"172.17.0.1:1", "localhost:8097", 403},    // a port that Docker publishes
		{"[::ffff:10.0.0.1]:1", "localhost", 403},  // another machine
		{"[fe80::1%eth0]:1", "localhost", 403},     // a neighbour
		{"127.0.0.1:1", "pages.example:8097", 403}, // a page whose name points here, or a proxy on this machine
		{"@", "localhost", 403},                    // a socket without a name
	} {
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/profile?seconds=1", "/debug/pprof/trace?seconds=1", "/debug/pprof/cmdline"} {
			if tt.status == 200 && path != "/debug/pprof/" {
				continue
			}
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.RemoteAddr, r.Host = tt.from, tt.host
			w := httptest.NewRecorder()
			ops.server.Handler.ServeHTTP(w, r)
			assert.Equal(t, tt.status, w.Code, "%s from %s", path, tt.from)
			if tt.status == 403 {
				assert.Regexp(t, "for this machine only", w.Body.String())
			}
		}
	}
}

func TestAClientIsBounded(t *testing.T) {
	entered := make(chan error)
	ops, addr := startOps(t, func(r chi.Router) {
		r.Post("/body", func(_ http.ResponseWriter, r *http.Request) { _, err := io.Copy(io.Discard, r.Body); entered <- err })
	})
	assert.Equal(t, []time.Duration{5 * time.Second, 5 * time.Second, 10 * time.Second, 60 * time.Second},
		[]time.Duration{ops.server.ReadHeaderTimeout, ops.server.ReadTimeout, ops.server.WriteTimeout, ops.server.IdleTimeout})

	for size, want := range map[int]int{maxHeaderBytes / 2: 200, 2 * maxHeaderBytes: 431} {
		req, err := http.NewRequest(http.MethodGet, "http://"+addr+"/healthz", nil)
		require.NoError(t, err)
		req.Header.Set("X", strings.Repeat("x", size))
		resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, want, resp.StatusCode)
	}

	conn := dial(t, addr)
	fmt.Fprintf(conn, "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", maxBodyBytes+1, strings.Repeat("x", maxBodyBytes+1))
	assert.EqualError(t, <-entered, "http: request body too large")
}

func TestConnectionsAreBounded(t *testing.T) {
	ops, err := listen("127.0.0.1:0", 1, slog.New(slog.DiscardHandler), nil)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, ops.Close(context.Background())) })
	first := dial(t, ops.Addr())
	fmt.Fprint(first, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	_, err = io.ReadFull(first, make([]byte, len("HTTP/1.1 200 OK")))
	require.NoError(t, err)

	second := dial(t, ops.Addr())
	fmt.Fprint(second, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	require.NoError(t, second.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	_, err = second.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "one too many is served")
	require.NoError(t, first.Close())
	require.NoError(t, second.SetReadDeadline(time.Now().Add(30*time.Second)))
	answer, err := io.ReadAll(second)
	require.NoError(t, err)
	assert.Contains(t, string(answer), "alive")
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestOtherMethodsAreToldWhichOnesThereAre(t *testing.T) {
	_, addr := startOps(t, nil)
	resp, err := http.Post("http://"+addr+"/healthz", "", nil)
	require.NoError(t, err)
	defer http.DefaultClient.CloseIdleConnections()
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode)
	assert.Equal(t, "GET", resp.Header.Get("Allow"))
	assert.Equal(t, "/healthz answers GET, not POST.\n", string(body))
}

func TestListenOnATakenPortNamesTheSetting(t *testing.T) {
	_, addr := startOps(t, nil)
	_, err := Listen(Addr(addr), slog.New(slog.DiscardHandler), nil)
	require.Error(t, err)
	assert.Equal(t, "cannot listen on HTTP_ADDR "+addr+": listen tcp "+addr+": bind: address already in use", err.Error())
}

func TestCloseWaitsForRequestsOnlySoLong(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	ops, addr := startOps(t, func(r chi.Router) {
		r.Get("/slow", func(http.ResponseWriter, *http.Request) { close(entered); <-leave })
	})
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	fmt.Fprintf(conn, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
	<-entered

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	assert.ErrorIs(t, ops.Close(ctx), context.DeadlineExceeded)
	close(leave)
	assert.NoError(t, ops.Close(context.Background()))
}

func TestCloseDoesNotWaitForConnectionsNobodyUses(t *testing.T) {
	ops, addr := startOps(t, nil)
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	get(t, "http://"+addr+"/healthz") // accepted after the other one

	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second) // net/http would wait for five
	defer cancel()
	assert.NoError(t, ops.Close(ctx))
}

func TestWaitEndsWithTheContextOrTheServer(t *testing.T) {
	ops, _ := startOps(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	assert.NoError(t, ops.Wait(ctx))
	boom := errors.New("boom")
	ops.failed <- boom
	assert.Equal(t, boom, ops.Wait(context.Background()))
}

func TestHealthcheckAsksTheRunningProgram(t *testing.T) {
	_, addr := startOps(t, nil)
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	for _, setting := range []string{addr, ":" + port, "0.0.0.0:" + port} {
		p, stdout, stderr := testProgram(nil, "HTTP_ADDR="+setting)
		assert.Equal(t, 0, p.main([]string{"--healthcheck"}), stderr.String())
		assert.Equal(t, "example is well\n", stdout.String())
	}
}

func TestHealthcheckFailsWithASentence(t *testing.T) {
	addr := tracingtest.FreeAddr(t)
	p, _, stderr := testProgram(nil, "HTTP_ADDR="+addr)
	assert.Equal(t, 1, p.main([]string{"--healthcheck"}))
	assert.Equal(t, "example is not well: Get \"http://"+addr+"/healthz\": dial tcp "+addr+": connect: connection refused\n", stderr.String())
}

type checkedConfig struct{ testConfig }

func (checkedConfig) HealthCheck(context.Context) error { return errors.New("even-topic is missing") }

func TestSettingsMayCheckHealthThemselves(t *testing.T) {
	base, stdout, stderr := testProgram(nil)
	p := program[checkedConfig]{name: base.name, stdout: stdout, stderr: stderr}
	assert.Equal(t, 1, p.main([]string{"--healthcheck"}))
	assert.Equal(t, "example is not well: even-topic is missing\n", stderr.String())
}
