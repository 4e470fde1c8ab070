package collector

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// With HTTP/2 the answer may be there while the body is still being written.
func TestTheBodyIsFreeWhenThePostHasReturned(t *testing.T) {
	c := New(OTLP(url.URL{Scheme: "http", Host: "jaeger"}))
	var begun, whole io.Reader
	c.client.Transport = early(func(r *http.Request) {
		begun = r.Body
		_, err := io.ReadFull(begun, make([]byte, 3))
		require.NoError(t, err)
		whole, err = r.GetBody()
		require.NoError(t, err)
		_, err = io.ReadFull(whole, make([]byte, r.ContentLength))
		require.NoError(t, err)
	})
	require.NoError(t, c.Post(t.Context(), []byte("batch")))
	n, err := begun.Read(make([]byte, 3))
	assert.Zero(t, n)
	require.ErrorIs(t, err, errEnded)
	_, err = whole.Read(make([]byte, 3))
	assert.Equal(t, io.EOF, err, "a body that was sent is no failure")
}

// early answers at once.
type early func(*http.Request)

func (f early) RoundTrip(r *http.Request) (*http.Response, error) {
	f(r)
	return &http.Response{StatusCode: http.StatusAccepted, Body: http.NoBody}, nil
}

// A connection that was open may be closed by the time that it is used again.
func TestAConnectionThatWasClosedMeanwhileIsNoFailure(t *testing.T) {
	var bodies []string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		bodies = append(bodies, string(body))
	}))
	defer server.Close()
	at, err := url.Parse(server.URL)
	require.NoError(t, err)
	c := New(OTLP(*at))
	defer c.Close()
	var open *closing
	connectBy(c, func() net.Conn {
		made, err := net.Dial("tcp", at.Host)
		assert.NoError(t, err)
		open = &closing{Conn: made}
		return open
	})
	require.NoError(t, c.Post(t.Context(), []byte("one")))
	open.closed.Store(true)
	require.NoError(t, c.Post(t.Context(), []byte("two")))
	assert.Equal(t, []string{"one", "two"}, bodies)
}

// closing is a connection that takes nothing any more once it is closed.
type closing struct {
	net.Conn
	closed atomic.Bool
}

func (c *closing) Write(b []byte) (int, error) {
	if c.closed.Load() {
		return 0, syscall.EPIPE
	}
	return c.Conn.Write(b)
}

func connectBy(c *Collector, connect func() net.Conn) {
	transport := c.client.Transport.(*http.Transport)
	transport.Proxy = nil
	transport.DialContext = func(context.Context, string, string) (net.Conn, error) { return connect(), nil }
}
