package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// control is the way to a running demo. Without a socket there is none.
type control struct {
	socket string
	client http.Client
}

func newControl(socket string) *control {
	return &control{socket: socket, client: http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}}
}

// about returns what the demo tells of itself; nil: there is none.
func (c *control) about(ctx context.Context) *demo {
	answer, err := c.ask(ctx, http.MethodGet, "/")
	d := new(demo)
	if err != nil || json.Unmarshal(answer, d) != nil {
		return nil
	}
	return d
}

// do has the demo do something. Its error is a sentence for the person who asked for it.
func (c *control) do(ctx context.Context, path string) error {
	_, err := c.ask(ctx, http.MethodPost, path)
	return err
}

func (c *control) ask(ctx context.Context, method, path string) ([]byte, error) {
	if c.socket == "" {
		return nil, errors.New("no demo is there that could do it")
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://demo"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("the demo does not answer: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(strings.TrimSpace(string(answer)))
	}
	return answer, err
}
