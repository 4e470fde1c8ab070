package main

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"
)

// front is a proxy before Jaeger that keeps when Jaeger had taken which span. It
// passes on everything but the posts of a client that it refuses.
type front struct {
	jaeger http.Handler
	fault  http.HandlerFunc // nil: none
	text   []byte           // what is answered so holds it

	mu    sync.Mutex
	taken map[spanID]time.Time // the first time
}

// startFront serves one before a Jaeger, at the URLs it returns, until stop is called.
func startFront(jaeger urls, fault http.HandlerFunc) (f *front, at urls, stop func(), err error) {
	thrift, err := url.Parse(jaeger.thrift)
	if err != nil {
		return nil, urls{}, nil, err
	}
	otlp, err := url.Parse(jaeger.otlp)
	if err != nil {
		return nil, urls{}, nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, urls{}, nil, err
	}
	f = &front{
		jaeger: &httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) {
				to := thrift
				if r.In.URL.Path == otlp.Path {
					to = otlp
				}
				r.SetURL(&url.URL{Scheme: to.Scheme, Host: to.Host})
			},
			Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
		},
		fault: fault, text: []byte(process(refused).ServiceName), taken: map[spanID]time.Time{},
	}
	server := &http.Server{Handler: f}
	go func() { _ = server.Serve(l) }() // until it is closed
	return f, addrs{l.Addr().String(), l.Addr().String()}.urls(), func() { _ = server.Close() }, nil
}

// ServeHTTP implements http.Handler.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the relay is gone
	}
	if f.fault != nil && bytes.Contains(body, f.text) {
		f.fault(w, r)
		return
	}
	answer := &answer{ResponseWriter: w}
	r.Body = io.NopCloser(bytes.NewReader(body))
	f.jaeger.ServeHTTP(answer, r)
	if answer.status/100 == 2 {
		f.note(body, time.Now())
	}
}

// note keeps that the spans of a post were taken.
func (f *front) note(body []byte, at time.Time) {
	ids, err := idsOf(body)
	if err != nil {
		return // Jaeger took it all the same: it holds no span
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		if _, seen := f.taken[id]; !seen {
			f.taken[id] = at
		}
	}
}

// delays returns, of the records that were taken, how long it took each time.
func (f *front) delays(of []written) (all []time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range of {
		if at, ok := f.taken[r.first]; ok {
			all = append(all, at.Sub(r.at))
		}
	}
	return all
}

// answer is an http.ResponseWriter that keeps the status.
type answer struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}
