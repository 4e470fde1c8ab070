package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"fault-tolerant-tracing/services/internal/look"
)

//go:embed static
var static embed.FS

var templates = template.Must(template.ParseFS(static, "static/*.html"))

// tokenHeader carries the word that only our own page knows.
const tokenHeader = "X-Console-Token"

// page serves the control room.
type page struct {
	ctx   context.Context // ends with the program
	watch *watch
	demo  *remote
	cfg   config
	token string
}

func newToken() string { return rand.Text() }

func (p page) routes(r chi.Router) {
	r.Group(func(r chi.Router) {
		r.Use(look.Guard, look.Policy)
		r.Get("/", p.index)
		r.Get("/trace/{id:[0-9a-f]{1,32}}", p.trace)
		r.Get("/events", p.events)
		r.Handle("/static/*", look.Files(static))
		r.With(http.NewCrossOriginProtection().Handler, p.ours).Post("/actions/*", p.act)
	})
}

func (p page) index(w http.ResponseWriter, _ *http.Request) {
	look.Render(w, templates, "index.html", map[string]any{
		"Token": p.token, "Demo": p.cfg.ControlSocket != "", "UI": p.cfg.UIURL.String(), "TracingTopic": p.cfg.TracingTopic,
	})
}

// events streams the states, as server-sent events: first what was, then one each second.
func (p page) events(w http.ResponseWriter, r *http.Request) {
	history, latest, states, done, err := p.watch.listen()
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer done()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	past, _ := json.Marshal(history) // numbers
	out := http.NewResponseController(w)
	send := func(event string, data []byte) bool {
		_ = out.SetWriteDeadline(time.Now().Add(5 * time.Second)) // of each event, not of all
		_, err := fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event, data)
		return err == nil && out.Flush() == nil
	}
	if !send("past", past) || latest != nil && !send("state", latest) {
		return
	}
	for {
		select {
		case text := <-states:
			if !send("state", text) {
				return
			}
		case <-r.Context().Done():
			return
		case <-p.ctx.Done():
			return
		}
	}
}

// ours lets only requests through that our own page makes.
func (p page) ours(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get(tokenHeader)), []byte(p.token)) != 1 {
			http.Error(w, "This page is from before: load it again.", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// act passes an action on to the demo, which knows what there is.
func (p page) act(w http.ResponseWriter, r *http.Request) {
	path := "/" + chi.URLParam(r, "*")
	if query := r.URL.RawQuery; query != "" {
		path += "?" + query
	}
	err := p.demo.do(r.Context(), path)
	if err != nil && !errors.Is(err, context.Canceled) {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// trace shows the spans of a trace as they lie on the topic, Jaeger or not.
func (p page) trace(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 8*time.Second)
	defer cancel()
	id := strings.TrimLeft(chi.URLParam(r, "id"), "0")
	found, err := p.readTrace(ctx, id)
	data := map[string]any{"ID": id, "Spans": found, "UI": p.cfg.UIURL.JoinPath("trace", id).String(), "Topic": p.cfg.TracingTopic}
	if err != nil {
		data["Error"] = err.Error()
	}
	look.Render(w, templates, "trace.html", data)
}
