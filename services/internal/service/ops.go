package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"fault-tolerant-tracing/services/internal/look"
	"fault-tolerant-tracing/services/internal/printable"
	"fault-tolerant-tracing/tracing/propagation"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
)

// Bounds of one HTTP exchange: what is served here is small and answered from memory. A client that reads or writes slower
// than this is broken, or means harm.
const (
	readTimeout  = 5 * time.Second
	writeTimeout = 10 * time.Second
	idleTimeout  = 60 * time.Second

	maxHeaderBytes = 2 * propagation.MaxBaggageBytes // 16 KiB: a request may bring that much baggage, and as much of other headers
	maxBodyBytes   = 1 << 10                         // nothing here takes a body: room for clients that cannot send an empty one

	// Of all that are open at a time; further ones wait. One costs up to 30 kB, 16 of them for a long header: all of them 30 MB, and
	// file descriptors are left for Kafka and Jaeger.
	maxConnections = 1000
)

// NewServer returns an HTTP server for handler with all of these bounds but that of connections.
func NewServer(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           http.MaxBytesHandler(handler, maxBodyBytes),
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// Ops is the HTTP server of a program: /healthz, /readyz, /metrics, what the program adds, and, for this machine only, /debug/pprof for `go tool pprof`.
// Its methods are safe for several goroutines.
type Ops struct {
	addr     string
	server   *http.Server
	unused   unused
	registry *prometheus.Registry
	ready    atomic.Pointer[func() error]
	failed   chan error // what serving ended with; nothing after Close
}

// Listen opens addr and serves on it until Close. routes, unless nil, adds the program's own. The program counts as alive from
// now on, and as ready as soon as Ready says so.
func Listen(addr Addr, log *slog.Logger, routes func(chi.Router)) (*Ops, error) {
	return listen(addr, maxConnections, log, routes)
}

func listen(addr Addr, connections int, log *slog.Logger, routes func(chi.Router)) (*Ops, error) {
	listener, err := net.Listen("tcp", string(addr))
	if err != nil {
		return nil, fmt.Errorf("cannot listen on HTTP_ADDR %s: %w", addr, err)
	}
	o := &Ops{addr: listener.Addr().String(), unused: unused{conns: map[net.Conn]bool{}}, registry: prometheus.NewRegistry(), failed: make(chan error, 1)}
	o.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	o.Ready(func() error { return errors.New("starting") })
	o.server = NewServer(o.router(routes), log)
	o.server.ConnState = o.unused.changed
	go func() {
		if err := o.server.Serve(netutil.LimitListener(listener, connections)); !errors.Is(err, http.ErrServerClosed) {
			o.failed <- fmt.Errorf("serve HTTP on %s: %w", addr, err)
		}
	}()
	log.Info("listening", "addr", o.addr)
	return o, nil
}

func (o *Ops) router(routes func(chi.Router)) http.Handler {
	r := chi.NewRouter()
	r.NotFound(notFound)
	r.MethodNotAllowed(methodNotAllowed(r))
	r.Get("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "alive") })
	r.Get("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := (*o.ready.Load())(); err != nil {
			http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	r.Method(http.MethodGet, "/metrics", promhttp.HandlerFor(o.registry, promhttp.HandlerOpts{}))
	r.Group(func(r chi.Router) { // at no cost while nobody asks
		r.Use(look.Guard, fromHere)
		r.Get("/debug/pprof/*", pprof.Index)
		r.Get("/debug/pprof/profile", pprof.Profile)
		r.Get("/debug/pprof/trace", pprof.Trace)
	})
	if routes != nil {
		routes(r)
	}
	return r
}

// fromHere refuses what comes from elsewhere: a profile takes time, and tells how the program is made and what it is doing.
func fromHere(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if from, err := netip.ParseAddrPort(r.RemoteAddr); err != nil || !from.Addr().Unmap().IsLoopback() {
			http.Error(w, "Profiles are for this machine only: ask at 127.0.0.1, in the container if there is one.", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func notFound(w http.ResponseWriter, r *http.Request) {
	http.Error(w, fmt.Sprintf("There is nothing at %s.", printable.Line(r.URL.Path)), http.StatusNotFound)
}

// methodNotAllowed names the methods that routes has for the path, in the header Allow as well.
func methodNotAllowed(routes chi.Routes) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var allowed []string
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
			if routes.Match(chi.NewRouteContext(), method, r.URL.Path) {
				allowed = append(allowed, method)
			}
		}
		list := strings.Join(allowed, ", ")
		w.Header().Set("Allow", list)
		http.Error(w, fmt.Sprintf("%s answers %s, not %s.", printable.Line(r.URL.Path), list, r.Method), http.StatusMethodNotAllowed)
	}
}

// Addr returns the address it listens on: with port 0 in HTTP_ADDR, the one that the system has chosen.
func (o *Ops) Addr() string { return o.addr }

// Metrics returns where the program registers its own metrics.
func (o *Ops) Metrics() prometheus.Registerer { return o.registry }

// Ready sets what /readyz asks: nil means ready, an error says in a few words why not. It is called from many goroutines and must
// not block.
func (o *Ops) Ready(ready func() error) { o.ready.Store(&ready) }

// Wait blocks until ctx ends, and returns nil then, or until serving fails.
func (o *Ops) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-o.failed:
		return err
	}
}

// Close stops listening and waits for running requests until ctx ends, then cuts them off. It is idempotent.
func (o *Ops) Close(ctx context.Context) error {
	o.unused.close()
	if err := o.server.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("requests cut off: %w", err), o.server.Close())
	}
	return nil
}
