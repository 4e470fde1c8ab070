package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"fault-tolerant-tracing/services/internal/transform"
	"fault-tolerant-tracing/tracing/httptrace"

	"github.com/opentracing/opentracing-go"
)

// randomTimeout bounds one request. random answers from memory within
// milliseconds; longer than this it is as good as away, and is asked anew.
const randomTimeout = 3 * time.Second

// randomClient asks the service random for numbers. It is safe for several
// goroutines.
type randomClient struct {
	url       string
	client    http.Client
	transport *http.Transport
}

func newRandomClient(tracer opentracing.Tracer, base url.URL) *randomClient {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = transform.InFlight
	return &randomClient{
		url:       base.JoinPath("random").String(),
		transport: transport,
		client: http.Client{
			Transport: httptrace.RoundTripper(tracer, transport),
			Timeout:   randomTimeout,
			// A redirected POST comes back as the answer to a GET.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// draw returns a number from 0 to 9. Every error is temporary: it tells of
// random, not of the record at hand.
func (c *randomClient) draw(ctx context.Context) (int, error) {
	number, err := c.post(ctx)
	if err != nil {
		return 0, fmt.Errorf("ask random for a number: %w", err)
	}
	return number, nil
}

func (c *randomClient) post(ctx context.Context) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, nil)
	if err != nil {
		return 0, err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil {
		return 0, err
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return 0, errors.New("it answered " + resp.Status)
	}
	var answer struct{ Number *int }
	if err := json.Unmarshal(body, &answer); err != nil {
		return 0, fmt.Errorf("it answered %.100q: %w", body, err)
	}
	if answer.Number == nil || *answer.Number < 0 || *answer.Number > 9 {
		return 0, fmt.Errorf("it answered %.100q, not a number from 0 to 9", body)
	}
	return *answer.Number, nil
}

func (c *randomClient) close(context.Context) error {
	c.transport.CloseIdleConnections()
	return nil
}
