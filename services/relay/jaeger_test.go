package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fault-tolerant-tracing/services/internal/jaeger"
)

// A real Jaeger behind something that is configured wrongly refuses everything.
// Nothing may be set aside for that, and all is delivered when it is put right.
func TestRealJaegerBehindAWrongEndpoint(t *testing.T) {
	for name, spoil := range map[string]func(*http.Request, *jaeger.Process){
		"content type taken away": func(r *http.Request, _ *jaeger.Process) { r.Header.Del("Content-Type") },
		"wrong content type":      func(r *http.Request, _ *jaeger.Process) { r.Header.Set("Content-Type", "application/json") },
		"wrong path":              func(r *http.Request, _ *jaeger.Process) { r.URL.Path = "/traces" },
		"wrong method":            func(r *http.Request, _ *jaeger.Process) { r.Method = http.MethodPut },
		"Jaeger's UI":             func(r *http.Request, p *jaeger.Process) { r.URL.Host = strings.TrimPrefix(p.QueryURL(), "http://") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := jaeger.StartForTest(t)
			target, err := url.Parse(p.OTLPEndpoint())
			require.NoError(t, err)
			target.Path = ""
			var right atomic.Bool
			var posts atomic.Int64
			proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
				posts.Add(1)
				r.SetURL(target)
				if !right.Load() {
					spoil(r.Out, p)
				}
			}})
			t.Cleanup(proxy.Close)

			r := startRelay(t, proxy.URL+"/v1/traces")
			const n = 5
			for i := range n {
				r.produce(newBatch(t, fmt.Sprint("good-", i)))
			}
			r.eventually("the relay has tried each often", func() bool { return posts.Load() >= 5*n })
			assert.Equal(t, "holding", r.status()["state"])
			assert.Empty(t, r.setAside())
			right.Store(true)
			r.eventually("all is delivered", func() bool { return r.committed() == n })
			assert.Empty(t, r.setAside())

			q := jaeger.NewQuery(p.QueryURL())
			t.Cleanup(q.Close)
			trace, err := q.Trace(t.Context(), "1")
			require.NoError(t, err)
			assert.Len(t, trace.Spans, n)
		})
	}
}

// A replay brings what is on the topic into a Jaeger that has nothing yet.
func TestReplayIntoAnEmptyJaeger(t *testing.T) {
	p := jaeger.StartForTest(t)
	d := newDesk(t, p.OTLPEndpoint())
	const n = 300
	for i := range n {
		d.produce(d.record(0, fmt.Sprint("a-", i), fmt.Sprint("b-", i)))
	}
	out, _, err := d.relay("replay", "--since", "1m")
	require.NoError(t, err)
	assert.Contains(t, out, "sent 300 records with 600 spans")

	q := jaeger.NewQuery(p.QueryURL())
	t.Cleanup(q.Close)
	trace, err := q.Trace(t.Context(), "1")
	require.NoError(t, err)
	assert.Len(t, trace.Spans, 2*n)
}
