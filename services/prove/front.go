package main

import (
	"bytes"
	"context"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// front is a proxy before Jaeger's receiver of OTLP, that can spoil what it answers. When Jaeger gives no answer, it gives none
// either: it closes the connection.
type front struct {
	jaeger  http.Handler
	server  *http.Server
	spoiled atomic.Pointer[answer]
}

// answer answers a post. pass has Jaeger answer it.
type answer func(ctx context.Context, w http.ResponseWriter, pass http.HandlerFunc)

// startFront serves one on a port, before the receiver at a URL, until stop is called.
func startFront(port int, to string) (f *front, stop func(context.Context) error, err error) {
	target, err := url.Parse(to)
	if err != nil {
		return nil, nil, err
	}
	listener, err := net.Listen("tcp", addr(port))
	if err != nil {
		return nil, nil, err
	}
	silent := log.New(io.Discard, "", 0)
	f = &front{jaeger: &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: target.Scheme, Host: target.Host}) },
		Transport:    &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { hangUp() },
		ErrorLog:     silent,
	}}
	f.server = &http.Server{Handler: f, ErrorLog: silent, ReadHeaderTimeout: time.Minute}
	go func() { _ = f.server.Serve(listener) }() // until it is closed
	return f, func(context.Context) error { return f.server.Close() }, nil
}

// ServeHTTP implements http.Handler.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		hangUp()
	}
	pass := func(w http.ResponseWriter, _ *http.Request) {
		r.Body = io.NopCloser(bytes.NewReader(body))
		f.jaeger.ServeHTTP(w, r)
	}
	if spoil := f.spoiled.Load(); spoil != nil {
		(*spoil)(r.Context(), w, pass)
		return
	}
	pass(w, nil)
}

// hangUp closes the connection of a post.
func hangUp() { panic(http.ErrAbortHandler) }

// dice are for several goroutines.
type dice struct {
	mu sync.Mutex
	r  *rand.Rand
}

func (d *dice) below(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.r.IntN(n)
}

// halfOf spoils every other post, at random.
func halfOf(spoil answer) func(*dice) answer {
	return func(d *dice) answer {
		return func(ctx context.Context, w http.ResponseWriter, pass http.HandlerFunc) {
			if d.below(2) == 0 {
				pass(w, nil)
				return
			}
			spoil(ctx, w, pass)
		}
	}
}

func always(spoil answer) func(*dice) answer { return func(*dice) answer { return spoil } }

func status(code int, headers ...string) answer {
	return func(_ context.Context, w http.ResponseWriter, _ http.HandlerFunc) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, http.StatusText(code))
	}
}

// lie says that a post was taken, which it was not, and breaks off.
func lie(_ context.Context, w http.ResponseWriter, _ http.HandlerFunc) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", "100")
	w.WriteHeader(http.StatusOK)
	_, _ = io.WriteString(w, `{"partial`)
	_ = http.NewResponseController(w).Flush()
	hangUp()
}

// slow lets Jaeger answer up to three seconds later.
func slow(d *dice) answer {
	return func(ctx context.Context, w http.ResponseWriter, pass http.HandlerFunc) {
		select {
		case <-time.After(time.Duration(d.below(3000)) * time.Millisecond):
		case <-ctx.Done():
			hangUp()
		}
		pass(w, nil)
	}
}

// cut closes the connection before Jaeger has the post, or after it has taken it.
func cut(d *dice) answer {
	return func(_ context.Context, _ http.ResponseWriter, pass http.HandlerFunc) {
		if d.below(2) == 0 {
			pass(&unheard{header: http.Header{}}, nil)
		}
		hangUp()
	}
}

// unheard is an answer that goes nowhere.
type unheard struct{ header http.Header }

func (u *unheard) Header() http.Header         { return u.header }
func (u *unheard) Write(b []byte) (int, error) { return len(b), nil }
func (u *unheard) WriteHeader(int)             {}

// never does not answer as long as somebody waits.
func never(ctx context.Context, _ http.ResponseWriter, _ http.HandlerFunc) {
	<-ctx.Done()
	hangUp()
}
