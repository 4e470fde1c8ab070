package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	postTimeout     = 10 * time.Second
	maxExplanation  = 512      // bytes of an error's body that are kept
	maxDrainedBytes = 64 << 10 // read to keep the connection; a longer answer closes it
)

// collector posts batches to Jaeger's HTTP endpoint for jaeger.thrift over
// HTTP. It is safe for several goroutines.
type collector struct {
	url    string
	client *http.Client
}

// newCollector posts to endpoint, to which the format that Jaeger's collector
// documents is added: ?format=jaeger.thrift.
func newCollector(endpoint url.URL) *collector {
	query := endpoint.Query()
	if !query.Has("format") {
		query.Set("format", "jaeger.thrift")
		endpoint.RawQuery = query.Encode()
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = inFlight
	return &collector{
		url: endpoint.String(),
		client: &http.Client{
			Transport: transport,
			Timeout:   postTimeout,
			// A POST that follows a 301 becomes a GET, whose 200 says nothing.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// post sends one batch and blocks for the answer. The error is nil only if the
// collector took it; a *refusal if it answered something else.
func (c *collector) post(ctx context.Context, batch []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(batch))
	if err != nil {
		return fmt.Errorf("post to jaeger: %w", err)
	}
	request.Header.Set("Content-Type", "application/x-thrift")
	response, err := c.client.Do(request)
	if err != nil {
		return fmt.Errorf("post to jaeger: %w", err)
	}
	defer response.Body.Close()
	explanation, _ := io.ReadAll(io.LimitReader(response.Body, maxExplanation))
	_, _ = io.CopyN(io.Discard, response.Body, maxDrainedBytes)
	if response.StatusCode/100 == 2 {
		return nil
	}
	return &refusal{
		status:      response.StatusCode,
		explanation: strings.TrimSpace(string(explanation)),
		location:    response.Header.Get("Location"),
		after:       retryAfter(response.Header.Get("Retry-After"), time.Now()),
	}
}

func (c *collector) close() { c.client.CloseIdleConnections() }

// refusal is an answer of the collector other than 2xx.
type refusal struct {
	status      int
	explanation string
	location    string
	after       time.Duration // as the collector asked; 0: it did not
}

func (r *refusal) Error() string {
	text := fmt.Sprintf("jaeger answered %d %s", r.status, http.StatusText(r.status))
	if r.explanation != "" {
		text += ": " + r.explanation
	}
	if r.location != "" {
		text += " (to " + r.location + ", not followed)"
	}
	return text
}

// retryAfter reads the header of that name: seconds or a date (RFC 9110,
// section 10.2.3). What it cannot read counts as not there.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}
