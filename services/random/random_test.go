package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"fault-tolerant-tracing/services/internal/service"
	"fault-tolerant-tracing/tracing/propagation"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/opentracing/opentracing-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { tracingtest.VerifyMain(m) }

// startServer serves the routes as run does, and returns the URL.
func startServer(t *testing.T, tracer opentracing.Tracer) string {
	t.Helper()
	ops, err := service.Listen("127.0.0.1:0", slog.New(slog.DiscardHandler), routes(tracer))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, ops.Close(context.Background())) })
	return "http://" + ops.Addr()
}

// do sends a request on a connection of its own.
func do(t *testing.T, req *http.Request) (*http.Response, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, string(body)
}

func request(t *testing.T, method, url, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	require.NoError(t, err)
	return req
}

func TestAPI(t *testing.T) {
	tracer, _ := tracingtest.NewTracer(t, "random")
	url := startServer(t, tracer)
	const json, text = "application/json", "text/plain; charset=utf-8"
	const maxBody = 1 << 10 // of service.NewServer
	for _, tt := range []struct {
		name, method, path, body string
		status                   int
		contentType, answer      string // answer is a regular expression
	}{
		{"a number", "POST", "/random", "", 200, json, `^\{"number":[0-9]\}$`},
		{"the body means nothing", "POST", "/random?x=1", "hello", 200, json, `^\{"number":[0-9]\}$`},
		{"the largest body", "POST", "/random", strings.Repeat("x", maxBody), 200, json, `^\{"number":[0-9]\}$`},
		{"too large a body", "POST", "/random", strings.Repeat("x", maxBody+1), 413, text, `^The body may have 1024 bytes at most\.\n$`},
		{"GET", "GET", "/random", "", 405, text, `^/random answers POST, not GET\.\n$`},
		{"HEAD", "HEAD", "/random", "", 405, text, `^$`},
		{"DELETE", "DELETE", "/random", "", 405, text, `^/random answers POST, not DELETE\.\n$`},
		{"an unknown path", "POST", "/", "", 404, text, `^There is nothing at /\.\n$`},
		{"a longer path", "POST", "/random/", "", 404, text, `^There is nothing at /random/\.\n$`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp, body := do(t, request(t, tt.method, url+tt.path, tt.body))
			assert.Equal(t, tt.status, resp.StatusCode)
			assert.Equal(t, tt.contentType, resp.Header.Get("Content-Type"))
			assert.Regexp(t, tt.answer, body)
			if tt.status == 405 {
				assert.Equal(t, "POST", resp.Header.Get("Allow"))
			}
		})
	}
}

func TestABodyCutOffIsABadRequest(t *testing.T) {
	tracer, _ := tracingtest.NewTracer(t, "random")
	conn, err := net.Dial("tcp", strings.TrimPrefix(startServer(t, tracer), "http://"))
	require.NoError(t, err)
	defer conn.Close()
	fmt.Fprintf(conn, "POST /random HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nshort")
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
	answer, err := io.ReadAll(conn)
	require.NoError(t, err)
	assert.Contains(t, string(answer), "400 Bad Request")
	assert.Contains(t, string(answer), "The body could not be read: unexpected EOF.")
}

// drawn asks the handler directly: thousands of numbers in no time.
func drawn(t *testing.T) int {
	w := httptest.NewRecorder()
	draw(w, httptest.NewRequest(http.MethodPost, "/random", nil))
	var answer struct{ Number *int }
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer))
	require.NotNil(t, answer.Number)
	return *answer.Number
}

func TestNumbersAreFromZeroToNineAndEvenlySpread(t *testing.T) {
	const times = 20_000
	counts := map[int]int{}
	for range times {
		counts[drawn(t)]++
	}
	require.Len(t, counts, 10)
	for number := range 10 {
		// The standard deviation is 42: a fair draw is off by 300 once in 10^12.
		assert.InDelta(t, times/10, counts[number], 300, "number %d", number)
	}
}

func TestARequestIsTraced(t *testing.T) {
	tracer, recorder := tracingtest.NewTracer(t, "random")
	url := startServer(t, tracer)
	req := request(t, "POST", url+"/random", "")
	req.Header.Set("Uber-Trace-Id", "a:b:0:1")
	_, body := do(t, req)
	do(t, request(t, "GET", url+"/healthz", "")) // is not

	spans := recorder.Wait(t, 1)
	require.Len(t, spans, 1)
	assert.Equal(t, "POST /random", spans[0].Operation)
	assert.Equal(t, "000000000000000a", spans[0].TraceID)
	assert.Equal(t, "000000000000000b", spans[0].ParentID)
	assert.Equal(t, body, fmt.Sprintf(`{"number":%v}`, spans[0].Tags["random.number"]))
	assert.Equal(t, "server", spans[0].Tags["span.kind"])
}

func TestNoHeaderOfATraceFailsARequest(t *testing.T) {
	for _, tt := range []struct {
		name, header, value string
		dropped, debugID    any // tags
	}{
		{"a malformed context", "Uber-Trace-Id", "?", nil, nil},
		{"more baggage than travels", "Uberctx-K", strings.Repeat("x", propagation.MaxBaggageBytes), `"k"`, nil},
		{"a name that no header can have", "Jaeger-Baggage", "user id=x", `"user id"`, nil},
		{"a debug id", "Jaeger-Debug-Id", "look here", nil, "look here"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tracer, recorder := tracingtest.NewTracer(t, "random")
			req := request(t, "POST", startServer(t, tracer)+"/random", "")
			req.Header.Set(tt.header, tt.value)
			resp, _ := do(t, req)
			assert.Equal(t, 200, resp.StatusCode)
			span := tracingtest.Named(t, recorder.Wait(t, 1), "POST /random")
			assert.Empty(t, span.ParentID)
			assert.Equal(t, tt.dropped, span.Tags["baggage.dropped"])
			assert.Equal(t, tt.debugID, span.Tags["jaeger-debug-id"])
		})
	}
}
