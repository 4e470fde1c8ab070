// Package collectortest stands in for Jaeger's collector in tests: an HTTP server that answers each post of OTLP or jaeger.thrift
// as the test tells it to, and counts what it took.
package collectortest

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"go.opentelemetry.io/collector/pdata/ptrace"

	"fault-tolerant-tracing/services/internal/payload"
)

// Post is what was posted.
type Post struct {
	Body       []byte
	Services   []string // of its resources; nil if the body holds no spans
	Spans      []Span
	Operations []string // of the spans
}

// Span is a span as OTLP has it.
type Span struct {
	ptrace.Span
	Service string
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

// URL is where to post OTLP.
func (c *Collector) URL() string { return c.server.URL + "/v1/traces" }

// ThriftURL is where to post jaeger.thrift.
func (c *Collector) ThriftURL() string { return c.server.URL + "/api/traces" }

var types = map[string]string{"/v1/traces": "application/x-protobuf", "/api/traces": "application/x-thrift"}

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
	case types[r.URL.Path] == "":
		w.WriteHeader(http.StatusNotFound)
		return
	case r.Method != http.MethodPost:
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	case r.Header.Get("Content-Type") != types[r.URL.Path]:
		w.WriteHeader(http.StatusUnsupportedMediaType)
		return
	}
	p := Post{Body: body}
	p.decode()
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

func (p *Post) decode() {
	held, err := payload.Parse(p.Body)
	if err != nil {
		return
	}
	traces, err := held.Decode()
	if err != nil {
		return
	}
	for _, r := range traces.ResourceSpans().All() {
		service, _ := r.Resource().Attributes().Get("service.name")
		p.Services = append(p.Services, service.AsString())
		for _, scope := range r.ScopeSpans().All() {
			for _, s := range scope.Spans().All() {
				p.Spans = append(p.Spans, Span{s, service.AsString()})
				p.Operations = append(p.Operations, s.Name())
			}
		}
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
