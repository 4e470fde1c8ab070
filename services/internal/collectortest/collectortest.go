// Package collectortest stands in for Jaeger's collector in tests: an HTTP server that answers each post as the test tells it to,
// and counts what it took.
package collectortest

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/uber/jaeger-client-go/thrift-gen/jaeger"

	"fault-tolerant-tracing/tracing/batch"
)

// Post is what was posted.
type Post struct {
	Body       []byte
	Batch      *jaeger.Batch // nil if the body is no batch
	Operations []string      // of the spans of Batch
}

// Answer answers a post. It is called from several goroutines at once, and may block. The spans of a post that it answers with 2xx
// are taken.
type Answer func(w http.ResponseWriter, p Post)

// Status answers each post with this status.
func Status(code int) Answer { return func(w http.ResponseWriter, _ Post) { w.WriteHeader(code) } }

// HangUp closes the connection without an answer.
func HangUp(http.ResponseWriter, Post) { panic(http.ErrAbortHandler) }

// Collector is the server. Its methods are safe for several goroutines.
type Collector struct {
	server *httptest.Server

	mu     sync.Mutex
	answer Answer
	posts  int
	taken  map[string]int
}

// Start starts a collector. It is stopped when the test ends.
func Start(t testing.TB, answer Answer) *Collector {
	c := &Collector{answer: answer, taken: map[string]int{}}
	c.server = httptest.NewServer(http.HandlerFunc(c.serve))
	t.Cleanup(c.server.Close)
	return c
}

// URL is where to post batches.
func (c *Collector) URL() string { return c.server.URL + "/api/traces" }

// Close waits for the posts under way and stops the collector: from then on nothing answers at its URL.
func (c *Collector) Close() { c.server.Close() }

// Answer changes what posts are answered with from now on.
func (c *Collector) Answer(answer Answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = answer
}

// Posts returns how many posts have come, whatever they were answered with.
func (c *Collector) Posts() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.posts
}

// Taken returns how many spans with this operation name were taken.
func (c *Collector) Taken(operation string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.taken[operation]
}

// AllTaken returns how many spans were taken, by operation name.
func (c *Collector) AllTaken() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.taken)
}

func (c *Collector) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the sender is gone
	}
	switch {
	case r.URL.Path != "/api/traces":
		w.WriteHeader(http.StatusNotFound)
		return
	case r.Method != http.MethodPost:
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	case r.Header.Get("Content-Type") != "application/x-thrift":
		w.WriteHeader(http.StatusUnsupportedMediaType)
		return
	}
	p := Post{Body: body}
	if b, err := batch.Decode(body); err == nil {
		p.Batch = b
		for _, s := range b.Spans {
			p.Operations = append(p.Operations, s.OperationName)
		}
	}
	c.mu.Lock()
	c.posts++
	answer := c.answer
	c.mu.Unlock()
	written := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
	answer(written, p)
	if written.status/100 != 2 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, operation := range p.Operations {
		c.taken[operation]++
	}
}

// statusRecorder notes the status of an answer.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (s *statusRecorder) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}
