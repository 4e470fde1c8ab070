package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/go-chi/chi/v5"

	"fault-tolerant-tracing/services/internal/control"
	"fault-tolerant-tracing/services/internal/jaeger"
	"fault-tolerant-tracing/services/internal/local"
	"fault-tolerant-tracing/services/internal/printable"
	"fault-tolerant-tracing/services/internal/service"
	"fault-tolerant-tracing/tracing"
)

// about is what a running demo tells its commands, and the console.
type about struct {
	control.Status
	Transport tracing.Kind `json:"transport"`
	Collector collector    `json:"collector"`
	Ports     ports        `json:"ports"`
}

// mostAtOnce is how many numbers the console may ask for.
const mostAtOnce = 100_000

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
		_ = json.NewEncoder(printable.Writer(w)).Encode(d.about()) // to whom it cannot be told has gone
	})
	router.Group(func(router chi.Router) {
		router.Use(d.unlessBusy)
		router.Post("/parts/{part}/{action}", func(w http.ResponseWriter, r *http.Request) {
			if err := d.act(ctx, chi.URLParam(r, "part"), chi.URLParam(r, "action")); err != nil {
				http.Error(w, err.Error(), http.StatusConflict)
			}
		})
		router.Post("/{job}", func(w http.ResponseWriter, r *http.Request) {
			job, err := d.job(chi.URLParam(r, "job"), r.URL.Query())
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			go func() {
				if err := job(ctx); err != nil && ctx.Err() == nil {
					d.screen.line("%v", err)
				}
			}()
		})
	})
	server := service.NewServer(router, slog.New(slog.DiscardHandler))
	server.WriteTimeout = 0                    // a part may take long to start
	go func() { _ = server.Serve(listener) }() // until Shutdown
	d.teardown.Add("commands", server.Shutdown)
}

func (d *demo) about() about {
	a := about{Transport: d.transport, Collector: d.collector, Ports: d.ports}
	a.Said = d.screen.latest()
	for _, p := range d.parts() {
		a.Parts = append(a.Parts, control.Part{Name: p.Name, State: p.State()})
	}
	d.mu.Lock()
	a.Verdict = d.counted
	d.mu.Unlock()
	if d.telling.Load() {
		a.Busy = "the demo tells its story"
	}
	return a
}

// unlessBusy refuses what would disturb the story.
func (d *demo) unlessBusy(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if busy := d.about().Busy; busy != "" {
			http.Error(w, "not now: "+busy, http.StatusConflict)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// job returns what the console asks for. It is done in the background, and tells of itself on the screen.
func (d *demo) job(name string, settings url.Values) (func(context.Context) error, error) {
	switch name {
	case "numbers":
		text := settings.Get("count")
		count, err := strconv.Atoi(text)
		if err != nil || count < 1 || count > mostAtOnce {
			return nil, fmt.Errorf("%q numbers: want 1 to %d", text, mostAtOnce)
		}
		return func(ctx context.Context) error { return d.sendMany(ctx, count, 0) }, nil
	case "poison":
		return d.poison, nil
	case "verdict":
		return func(ctx context.Context) error { _, err := d.verdict(ctx); return err }, nil
	case "redrive":
		return d.redrive, nil
	case "story":
		return d.tellAgain, nil
	}
	return nil, fmt.Errorf("the demo cannot do %q", name)
}

// verdict counts all numbers again, tells, and returns whether nothing is lost.
func (d *demo) verdict(ctx context.Context) (bool, error) {
	r, err := d.judge(ctx)
	if err != nil {
		return false, err
	}
	d.tell(r)
	return r.NothingLost(), nil
}

// redrive has the relay send what it has set aside to Jaeger again.
func (d *demo) redrive(ctx context.Context) error {
	c, err := d.startChild("redrive", "relay", 0, "dlq", "redrive")
	if err != nil {
		return err
	}
	err = c.Wait(ctx)
	d.screen.line("redrive: %s", local.LastLine(d.log("redrive")))
	return err
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
		err = p.Stop(ctx)
	case "start":
		err = p.Start(ctx)
	case "kill":
		err = p.Kill()
	default:
		err = fmt.Errorf("%q is not stop, start or kill", action)
	}
	if err == nil {
		d.screen.line("%s: %s, as asked", name, action)
	}
	return err
}

func (d *demo) partNames() (names []string) {
	for _, p := range d.parts() {
		names = append(names, p.Name)
	}
	return names
}

// attached is a demo that runs in another process.
type attached struct {
	*demo
	about
	client *control.Client
}

var errNoDemo = errors.New("no demo is running here: start one with `make demo STAY=1`")

// attach finds the demo that runs in the repository.
func attach(ctx context.Context, d *demo) (*attached, error) {
	a := &attached{demo: d, client: control.NewClient(d.socket())}
	answer, err := a.client.Ask(ctx, http.MethodGet, "/")
	if errors.Is(err, control.ErrAway) {
		return nil, errNoDemo
	}
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
	_, err := a.client.Ask(ctx, http.MethodPost, "/parts/"+part+"/"+action)
	if errors.Is(err, control.ErrAway) {
		return errNoDemo
	}
	return err
}
