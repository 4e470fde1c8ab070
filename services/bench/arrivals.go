package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"fault-tolerant-tracing/services/internal/payload"
)

// arrivals is a collector that answers 202 and keeps what was posted, with the
// time at which the answer had been written.
type arrivals struct {
	mu    sync.Mutex
	posts []arrival
}

type arrival struct {
	batch []byte
	at    time.Time
}

// spanID names a span.
type spanID struct{ trace, span int64 }

// startArrivals serves one at the URLs it returns, until stop is called, which
// waits for the posts on their way to be kept.
func startArrivals() (a *arrivals, at urls, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, urls{}, nil, err
	}
	a = &arrivals{}
	server := &http.Server{Handler: a}
	go func() { _ = server.Serve(l) }() // until it is shut down
	return a, addrs{l.Addr().String(), l.Addr().String()}.urls(), func() { _ = server.Shutdown(context.Background()) }, nil
}

// ServeHTTP implements http.Handler.
func (a *arrivals) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	value, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusAccepted)
	if err := http.NewResponseController(w).Flush(); err != nil {
		return // the relay did not get the answer
	}
	at := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.posts = append(a.posts, arrival{batch: value, at: at})
}

// first returns when each span arrived; of one that came twice, the first time.
func (a *arrivals) first() (map[spanID]time.Time, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := map[spanID]time.Time{}
	for _, post := range a.posts {
		ids, err := idsOf(post.batch)
		if err != nil {
			return nil, fmt.Errorf("decode what the relay posted: %w", err)
		}
		for _, id := range ids {
			if at, seen := all[id]; !seen || post.at.Before(at) {
				all[id] = post.at
			}
		}
	}
	return all, nil
}

// idsOf returns the spans of a post, of jaeger.thrift or OTLP.
func idsOf(body []byte) (ids []spanID, err error) {
	held, err := payload.Parse(body)
	if err != nil {
		return nil, err
	}
	traces, err := held.Decode()
	if err != nil {
		return nil, err
	}
	for _, r := range traces.ResourceSpans().All() {
		for _, scope := range r.ScopeSpans().All() {
			for _, s := range scope.Spans().All() {
				trace, span := s.TraceID(), s.SpanID()
				ids = append(ids, spanID{int64(binary.BigEndian.Uint64(trace[8:])), int64(binary.BigEndian.Uint64(span[:]))})
			}
		}
	}
	return ids, nil
}
