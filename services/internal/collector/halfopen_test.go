package collector

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A Jaeger that is stopped, or whose machine is gone, takes the connection and all that
// is sent, and does not answer.
func TestAPostEndsThoughNothingAnswers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer string // the beginning
	}{
		{"nothing comes back", ""},
		{"the answer ends in its first line", "HTTP/1.1 202 Acc"},
		{"the answer ends in what it explains", "HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\nstored"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := New(OTLP(url.URL{Scheme: "http", Host: "jaeger"}))
				defer c.Close()
				connectBy(c, func() net.Conn {
					ours, theirs := net.Pipe()
					go func() {
						request, err := http.ReadRequest(bufio.NewReader(theirs))
						if err == nil {
							_, err = io.Copy(io.Discard, request.Body)
						}
						if err == nil {
							_, _ = io.WriteString(theirs, tt.answer)
						}
					}()
					return ours
				})
				began := time.Now()
				err := c.Post(t.Context(), []byte("batch")) // without an end this is a deadlock
				assert.Equal(t, DefaultTimeout, time.Since(began))
				var timeout net.Error
				require.ErrorAs(t, err, &timeout)
				assert.True(t, timeout.Timeout())
			})
		})
	}
}
