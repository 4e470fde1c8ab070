// Package control is the way to a running demo: HTTP on a socket in its folder.
package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// Status is what a running demo tells of itself.
type Status struct {
	Parts []Part   `json:"parts"`
	Busy  string   `json:"busy"` // why it does nothing else now; "": it can
	Said  []string `json:"said"` // its latest lines

	Verdict *Verdict `json:"verdict,omitempty"` // of its latest count; nil: there was none
}

// Verdict is what a count found.
type Verdict struct {
	At      time.Time `json:"at"`
	Numbers int       `json:"numbers"`  // that have gone all the way
	Spans   int       `json:"spans"`    // that belong to them
	Lost    int       `json:"lost"`     // of these
	OnTopic int       `json:"on_topic"` // spans on tracing-topic, those that belong to no number included
}

// Part is a program that it keeps running.
type Part struct {
	Name  string `json:"name"`
	State string `json:"state"`
}

// ErrAway says that nobody listens.
var ErrAway = errors.New("the demo does not answer")

// Client asks the demo at a socket. It is safe for several goroutines.
type Client struct{ http http.Client }

// NewClient returns a client of the demo that listens at socket, if one does.
func NewClient(socket string) *Client {
	return &Client{http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}}
}

// Ask blocks until the demo has answered, for as long as it takes to start a part, or ctx ends. Its error is [ErrAway], or a sentence for the person who asked.
func (c *Client) Ask(ctx context.Context, method, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://demo"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if network := (*net.OpError)(nil); errors.As(err, &network) && network.Op == "dial" {
			return nil, ErrAway
		}
		return nil, fmt.Errorf("ask the demo: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(strings.TrimSpace(string(answer)))
	}
	return answer, err
}
