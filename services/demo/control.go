package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"fault-tolerant-tracing/services/internal/jaeger"
	"fault-tolerant-tracing/tracing"
)

// about is what a running demo tells its commands.
type about struct {
	Transport tracing.Kind `json:"transport"`
	Collector collector    `json:"collector"`
	Ports     ports        `json:"ports"`
	Parts     []partAbout  `json:"parts"`
}

type partAbout struct {
	Name  string `json:"name"`
	State string `json:"state"`
}

// socket is where a demo listens for its commands: for those who may write in its folder.
func (d *demo) socket() string { return d.data("control.sock") }

// listen serves the commands until everything is stopped. What they start lasts until ctx ends. It does without them where the path
// of the socket is too long for the system.
func (d *demo) listen(ctx context.Context) {
	listener, err := net.Listen("unix", d.socket())
	if err != nil {
		d.screen.line("there are no commands here: %v", err)
		return
	}
	router := chi.NewRouter()
	router.Get("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(d.about()) // to whom it cannot be told has gone
	})
	router.Post("/parts/{part}/{action}", func(w http.ResponseWriter, r *http.Request) {
		if err := d.act(ctx, chi.URLParam(r, "part"), chi.URLParam(r, "action")); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
		}
	})
	server := &http.Server{Handler: router, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }() // until Shutdown
	d.teardown.Add("commands", server.Shutdown)
}

func (d *demo) about() about {
	a := about{Transport: d.transport, Collector: d.collector, Ports: d.ports}
	for _, p := range d.parts {
		a.Parts = append(a.Parts, partAbout{p.name, p.state()})
	}
	return a
}

// act does to a part what a person asks for.
func (d *demo) act(ctx context.Context, name, action string) error {
	p := d.part(name)
	if p == nil {
		return fmt.Errorf("there is no part %q: want %s", name, strings.Join(d.partNames(), ", "))
	}
	var err error
	switch action {
	case "stop":
		err = p.stop(ctx)
	case "start":
		err = p.start(ctx)
	case "kill":
		err = p.kill()
	default:
		err = fmt.Errorf("%q is not stop, start or kill", action)
	}
	if err == nil {
		d.screen.line("%s: %s, by command", name, action)
	}
	return err
}

func (d *demo) partNames() (names []string) {
	for _, p := range d.parts {
		names = append(names, p.name)
	}
	return names
}

// attached is a demo that runs in another process.
type attached struct {
	*demo
	about
	client *http.Client
}

var errNoDemo = errors.New("no demo is running here: start one with `make demo STAY=1`")

// attach finds the demo that runs in the repository.
func attach(ctx context.Context, d *demo) (*attached, error) {
	a := &attached{demo: d, client: &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", d.socket())
		},
	}}}
	answer, err := a.ask(ctx, http.MethodGet, "/")
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(answer, &a.about); err != nil {
		return nil, fmt.Errorf("ask the demo: %w", err)
	}
	d.transport, d.collector, d.ports = a.Transport, a.Collector, a.Ports
	d.query = jaeger.NewQuery("http://" + addr(d.ports.JaegerQuery))
	return a, nil
}

// do has something done to a part.
func (a *attached) do(ctx context.Context, part, action string) error {
	_, err := a.ask(ctx, http.MethodPost, "/parts/"+part+"/"+action)
	return err
}

func (a *attached) ask(ctx context.Context, method, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://demo"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := a.client.Do(req)
	if err != nil {
		var network *net.OpError
		if errors.As(err, &network) && network.Op == "dial" {
			return nil, errNoDemo
		}
		return nil, fmt.Errorf("ask the demo: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(strings.TrimSpace(string(answer)))
	}
	return answer, err
}
