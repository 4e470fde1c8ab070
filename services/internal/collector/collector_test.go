package collector

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fault-tolerant-tracing/tracing/tracingtest"
)

func TestMain(m *testing.M) { tracingtest.VerifyMain(m) }

func start(t *testing.T, answer http.HandlerFunc) *Collector {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	endpoint, err := url.Parse(server.URL + "/api/traces")
	require.NoError(t, err)
	c := New(Thrift(*endpoint, "", ""))
	t.Cleanup(c.Close)
	return c
}

func TestOnly2xxIsTaken(t *testing.T) {
	for _, status := range []int{200, 202, 204} {
		c := start(t, func(w http.ResponseWriter, r *http.Request) {
			assert.Equal(t, "/api/traces?format=jaeger.thrift", r.URL.String())
			assert.Equal(t, "application/x-thrift", r.Header.Get("Content-Type"))
			w.WriteHeader(status)
		})
		assert.NoError(t, c.Post(t.Context(), []byte("batch")))
	}
	for _, status := range []int{304, 400, 404, 429, 500, 503} {
		c := start(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		var refusal *Refusal
		require.ErrorAs(t, c.Post(t.Context(), []byte("batch")), &refusal)
		assert.Equal(t, status, refusal.Status)
	}
}

func TestItLogsIn(t *testing.T) {
	for _, tt := range []struct{ name, address, user, want string }{
		{"no login", "http://%s", "", ""},
		{"of the settings", "http://%s", "relay", "relay:secret"},
		{"of the address before that", "http://other:word@%s", "relay", "other:word"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got string
			server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if user, password, ok := r.BasicAuth(); ok {
					got = user + ":" + password
				}
			}))
			t.Cleanup(server.Close)
			endpoint, err := url.Parse(fmt.Sprintf(tt.address, server.Listener.Addr()))
			require.NoError(t, err)
			c := New(Thrift(*endpoint, tt.user, "secret"))
			t.Cleanup(c.Close)
			require.NoError(t, c.Post(t.Context(), []byte("batch")))
			assert.Equal(t, tt.want, got)
			assert.NotContains(t, c.URL(), "secret")
		})
	}
}

// Jaeger's UI, one port beside the collector, answers so whatever is posted.
func TestAWebPageHasTakenNothing(t *testing.T) {
	c := start(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte("<!doctype html>"))
	})
	var refusal *Refusal
	err := c.Post(t.Context(), []byte("batch"))
	require.ErrorAs(t, err, &refusal)
	assert.EqualError(t, err, "jaeger answered 200 OK: a web page, as of Jaeger's UI; a collector answers with none")
}

// What breaks off in its answer may be something in between, and may have taken nothing.
func TestAnAnswerThatBreaksOffHasTakenNothing(t *testing.T) {
	c := start(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte("{"))
	})
	err := c.Post(t.Context(), []byte("batch"))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.EqualError(t, err, "post to jaeger: it answered 200 OK and broke off: unexpected EOF")
}

func TestAnExplanationIsOneLine(t *testing.T) {
	c := start(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(500)
		_, _ = w.Write([]byte("Key with size 70035:\n00000000  83\t\x1b[31m\n"))
	})
	assert.EqualError(t, c.Post(t.Context(), []byte("batch")), "jaeger answered 500 Internal Server Error: Key with size 70035: 00000000 83  [31m")
}

func TestARedirectIsNotFollowed(t *testing.T) {
	c := start(t, func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "/api/traces", r.URL.Path)
		w.Header().Set("Retry-After", "3")
		http.Redirect(w, r, "/elsewhere", http.StatusMovedPermanently)
	})
	err := c.Post(t.Context(), []byte("batch"))
	assert.EqualError(t, err, "jaeger answered 301 Moved Permanently (to /elsewhere, not followed)")
	var refusal *Refusal
	require.ErrorAs(t, err, &refusal)
	assert.Equal(t, 3*time.Second, refusal.After)
}

func TestRetryAfterIsReadAsSecondsOrDate(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"":                     0,
		"7":                    7 * time.Second,
		"-7":                   0,
		"soon":                 0,
		"99999999999999999999": 0,
		now.Add(9 * time.Second).Format(http.TimeFormat):  9 * time.Second,
		now.Add(-9 * time.Second).Format(http.TimeFormat): 0,
	} {
		assert.Equal(t, want, retryAfter(value, now), "Retry-After: %s", value)
	}
}
