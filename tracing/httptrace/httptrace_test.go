package httptrace_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"fault-tolerant-tracing/tracing/httptrace"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/go-chi/chi/v5"
	"github.com/opentracing/opentracing-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { tracingtest.VerifyMain(m) }

func newServer(t *testing.T, tracer opentracing.Tracer) *httptest.Server {
	t.Helper()
	r := chi.NewRouter()
	r.Use(httptrace.Middleware(tracer))
	r.Post("/random", func(w http.ResponseWriter, r *http.Request) {
		opentracing.SpanFromContext(r.Context()).SetTag("random.number", 7)
		_, _ = io.WriteString(w, `{"number":7}`)
	})
	r.Get("/users/{id}", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	r.Get("/broken", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	r.Get("/panic", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	s := httptest.NewServer(r)
	t.Cleanup(s.Close)
	return s
}

func newClient(t *testing.T, tracer opentracing.Tracer) *http.Client {
	t.Helper()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: httptrace.RoundTripper(tracer, transport)}
}

func newRequest(t *testing.T, ctx context.Context, method, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	require.NoError(t, err)
	return req
}

func TestARequestGivesThreeSpansInAChain(t *testing.T) {
	tracer, client := tracingtest.NewTracer(t, "sentence-app")
	serverTracer, server := tracingtest.NewTracer(t, "random-app")
	s := newServer(t, serverTracer)
	parent := tracer.StartSpan("From_even-topic")
	req := newRequest(t, opentracing.ContextWithSpan(t.Context(), parent), http.MethodPost, s.URL+"/random")

	res, err := newClient(t, tracer).Do(req)
	require.NoError(t, err)
	assert.Empty(t, client.Spans(), "finished before the body was closed")
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	assert.Equal(t, `{"number":7}`, string(text))
	require.NoError(t, res.Body.Close())
	require.NoError(t, res.Body.Close())
	parent.Finish()

	assert.Empty(t, req.Header, "the caller's request was changed")
	sent := client.Spans()
	require.Len(t, sent, 3)
	root, call := tracingtest.Named(t, sent, "POST /random"), tracingtest.Named(t, sent, "HTTP POST")
	served := tracingtest.Named(t, server.Wait(t, 1), "POST /random")
	assert.Equal(t, tracingtest.Named(t, sent, "From_even-topic").ID, root.ParentID)
	assert.Equal(t, root.ID, call.ParentID)
	assert.Equal(t, call.ID, served.ParentID)
	assert.Equal(t, root.TraceID, served.TraceID)
	for _, span := range []tracingtest.Span{root, call} {
		assert.Equal(t, "client", span.Tags["span.kind"])
		assert.Equal(t, "net/http", span.Tags["component"])
		assert.Equal(t, int64(200), span.Tags["http.status_code"])
		assert.NotContains(t, span.Tags, "error")
	}
	assert.Equal(t, "127.0.0.1", root.Tags["peer.service"])
	assert.Equal(t, "server", served.Tags["span.kind"])
	assert.Equal(t, int64(200), served.Tags["http.status_code"])
	assert.Equal(t, int64(7), served.Tags["random.number"])
	assert.NotContains(t, served.Tags, "error")
}

func TestPasswordsStayOutOfTheSpans(t *testing.T) {
	clientTracer, client := tracingtest.NewTracer(t, "sentence-app")
	serverTracer, server := tracingtest.NewTracer(t, "random-app")
	s := newServer(t, serverTracer)
	u, err := url.Parse(s.URL + "/random?n=1")
	require.NoError(t, err)
	u.User = url.UserPassword("user", "secret")
	proxy, err := url.Parse(s.URL)
	require.NoError(t, err)
	transport := &http.Transport{Proxy: http.ProxyURL(proxy)} // a proxy is sent the whole URL
	t.Cleanup(transport.CloseIdleConnections)

	res, err := httptrace.RoundTripper(clientTracer, transport).RoundTrip(newRequest(t, t.Context(), http.MethodPost, u.String()))
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())

	absolute := httptest.NewRequest(http.MethodPost, u.String(), nil)
	httptrace.Middleware(serverTracer)(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), absolute)
	assert.Equal(t, u.Redacted(), tracingtest.Named(t, client.Spans(), "HTTP POST").Tags["http.url"])
	assert.Equal(t, u.Redacted(), tracingtest.Named(t, server.Wait(t, 2), "POST").Tags["http.url"])
	assert.NotContains(t, fmt.Sprint(client.Spans(), server.Spans()), "secret")
}

func TestTheServerSpanIsNamedByTheRoute(t *testing.T) {
	tests := []struct {
		name, method, path string
		want               string
		status             any
		failed             any
	}{
		{"plain route", "POST", "/random", "POST /random", int64(200), nil},
		{"route with a variable", "GET", "/users/42", "GET /users/{id}", int64(404), nil},
		{"no route", "GET", "/nowhere/42", "GET", int64(404), nil},
		{"wrong method", "PUT", "/random", "PUT", int64(405), nil},
		{"status from 500 on is an error", "GET", "/broken", "GET /broken", int64(502), true},
		{"panic is an error", "GET", "/panic", "GET /panic", nil, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tracer, server := tracingtest.NewTracer(t, "random-app")
			s := newServer(t, tracer)
			transport := new(http.Transport)
			defer transport.CloseIdleConnections()
			if res, err := transport.RoundTrip(newRequest(t, t.Context(), tt.method, s.URL+tt.path)); err == nil {
				_ = res.Body.Close()
			}
			span := tracingtest.Named(t, server.Wait(t, 1), tt.want)
			assert.Equal(t, tt.status, span.Tags["http.status_code"])
			assert.Equal(t, tt.failed, span.Tags["error"])
		})
	}
}

func TestAMalformedHeaderStartsATrace(t *testing.T) {
	for _, value := range []string{"", "?", "0:0:0:0", "a:b:0", strings.Repeat("a:", 1000)} {
		tracer, server := tracingtest.NewTracer(t, "random-app")
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Header.Set("Uber-Trace-Id", value)
		w := httptest.NewRecorder()
		httptrace.Middleware(tracer)(http.NotFoundHandler()).ServeHTTP(w, r)
		assert.Equal(t, http.StatusNotFound, w.Code)
		assert.Empty(t, tracingtest.Named(t, server.Spans(), "POST").ParentID)
	}
}

func TestTheClientTagsAFailingServer(t *testing.T) {
	tracer, client := tracingtest.NewTracer(t, "sentence-app")
	serverTracer, _ := tracingtest.NewTracer(t, "random-app")
	res, err := newClient(t, tracer).Do(newRequest(t, t.Context(), "", newServer(t, serverTracer).URL+"/broken"))
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	span := tracingtest.Named(t, client.Spans(), "GET /broken")
	assert.Empty(t, span.ParentID)
	assert.Equal(t, int64(502), span.Tags["http.status_code"])
	assert.Equal(t, true, span.Tags["error"])
}

func TestARequestThatFailsEndsItsSpans(t *testing.T) {
	tracer, client := tracingtest.NewTracer(t, "sentence-app")
	_, err := newClient(t, tracer).Do(newRequest(t, t.Context(), http.MethodPost, "http://"+tracingtest.FreeAddr(t)))
	require.Error(t, err)
	spans := client.Spans()
	require.Len(t, spans, 2)
	root := tracingtest.Named(t, spans, "POST /")
	assert.Equal(t, true, root.Tags["error"])
	require.Len(t, root.Logs, 1)
	assert.Contains(t, root.Logs[0]["message"], "refused")
	assert.Equal(t, root.ID, tracingtest.Named(t, spans, "HTTP POST").ParentID)
}

func TestARequestThatIsCancelledEndsItsSpans(t *testing.T) {
	tracer, client := tracingtest.NewTracer(t, "sentence-app")
	arrived, release := make(chan struct{}), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(arrived)
		<-release
	}))
	defer s.Close()
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()

	_, err := newClient(t, tracer).Do(newRequest(t, ctx, http.MethodPost, s.URL+"/random"))

	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, true, tracingtest.Named(t, client.Spans(), "POST /random").Tags["error"])
}
