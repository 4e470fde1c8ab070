// Package connect is a client for the REST API of Kafka Connect: the part of it that registers connectors and tells how they are.
package connect

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Client asks one Kafka Connect cluster. It is safe for several goroutines. Its calls block until Connect has answered or ctx ends,
// and are not tried again.
type Client struct {
	baseURL string
	http    *http.Client
}

// NewClient returns a Client for the Kafka Connect at baseURL, such as http://localhost:8083.
func NewClient(baseURL string) *Client {
	transport := &http.Transport{DisableKeepAlives: true} // a call now and then; nothing to close
	return &Client{baseURL: strings.TrimRight(baseURL, "/"), http: &http.Client{Transport: transport}}
}

// Connector is what one POSTs to /connectors: a name and settings.
type Connector struct {
	Name   string            `json:"name"`
	Config map[string]string `json:"config"`
}

// Class is the plugin that the connector needs.
func (c Connector) Class() string { return c.Config["connector.class"] }

// Status is what became of a connector.
type Status struct {
	Connector Part   `json:"connector"`
	Tasks     []Part `json:"tasks"`
}

// Part is the state of the connector itself, or of one of its tasks.
type Part struct {
	State string `json:"state"` // RUNNING, FAILED, UNASSIGNED, PAUSED, …
	Trace string `json:"trace"` // of a failed one: the stack trace
}

// Running reports that the connector has tasks, and that it and all of them run. A connector whose task has failed says RUNNING of
// itself all the same.
func (s Status) Running() bool {
	return len(s.Tasks) > 0 && !slices.ContainsFunc(s.parts(), func(p Part) bool { return p.State != "RUNNING" })
}

// Failed returns in one line why the connector or one of its tasks has failed; "" when none has.
func (s Status) Failed() string {
	for _, p := range s.parts() {
		if p.State == "FAILED" {
			reason, _, _ := strings.Cut(p.Trace, "\n")
			return "FAILED: " + reason
		}
	}
	return ""
}

func (s Status) parts() []Part { return append([]Part{s.Connector}, s.Tasks...) }

// Installed reports whether the cluster has the plugin of this class.
func (c *Client) Installed(ctx context.Context, class string) (bool, error) {
	var plugins []struct {
		Class string `json:"class"`
	}
	if _, err := c.do(ctx, http.MethodGet, "/connector-plugins", nil, &plugins); err != nil {
		return false, err
	}
	for _, p := range plugins {
		if p.Class == class {
			return true, nil
		}
	}
	return false, nil
}

// Put creates the connector, or gives the one of that name these settings.
func (c *Client) Put(ctx context.Context, connector Connector) error {
	_, err := c.do(ctx, http.MethodPut, "/connectors/"+url.PathEscape(connector.Name)+"/config", connector.Config, nil)
	return err
}

// Status returns the state of a connector; found is false if there is none of that name, or not yet.
func (c *Client) Status(ctx context.Context, name string) (status Status, found bool, err error) {
	code, err := c.do(ctx, http.MethodGet, "/connectors/"+url.PathEscape(name)+"/status", nil, &status)
	if code == http.StatusNotFound {
		return Status{}, false, nil
	}
	return status, err == nil, err
}

// do sends in, if any, as JSON and decodes the answer into out, if any. An answer other than 2xx is an error with what it says.
func (c *Client) do(ctx context.Context, method, path string, in, out any) (code int, err error) {
	var body io.Reader
	if in != nil {
		encoded, err := json.Marshal(in)
		if err != nil {
			return 0, err
		}
		body = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.baseURL+path, body)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, fmt.Errorf("ask kafka connect: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return resp.StatusCode, fmt.Errorf("kafka connect answers %s %s with %s: %s", method, path, resp.Status, strings.TrimSpace(string(text)))
	}
	if out == nil {
		return resp.StatusCode, nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return resp.StatusCode, fmt.Errorf("kafka connect answers %s %s: %w", method, path, err)
	}
	return resp.StatusCode, nil
}
