package collector

import (
	"bufio"
	"bytes"
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

// net/http goes on writing for a while when the answer is there before the request is.
func TestTheBodyIsFreeWhenThePostHasReturned(t *testing.T) {
	const size = 1 << 20
	c := New(OTLP(url.URL{Scheme: "http", Host: "jaeger"}))
	defer c.Close()
	returned := make(chan struct{})
	received := make(chan []byte, 1)
	connectBy(c, func() net.Conn {
		ours, theirs := net.Pipe()
		go func() {
			request, err := http.ReadRequest(bufio.NewReader(theirs))
			if !assert.NoError(t, err) {
				return
			}
			_, _ = io.WriteString(theirs, "HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nbad")
			<-returned
			all, _ := io.ReadAll(request.Body)
			received <- all
		}()
		return ours
	})
	body := bytes.Repeat([]byte("a"), size)
	var refusal *Refusal
	require.ErrorAs(t, c.Post(t.Context(), body), &refusal)
	copy(body, bytes.Repeat([]byte("b"), size))
	close(returned)
	all := <-received
	assert.Less(t, len(all), size)
	assert.NotContains(t, string(all), "b")
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
