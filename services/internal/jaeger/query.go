package jaeger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"fault-tolerant-tracing/services/internal/printable"
)

// ErrNotFound says that Jaeger does not have what was asked for.
var ErrNotFound = errors.New("not found")

// Query asks the JSON API behind the Jaeger UI. Traces come back raw: as they
// are stored, without the adjustments that are made for display, which among
// other things hide spans that were stored twice.
//
// It is safe for several goroutines. Its calls block until Jaeger has answered
// or ctx ends, and are not tried again.
type Query struct {
	baseURL string
	client  *http.Client
}

// NewQuery returns a Query for the Jaeger at baseURL, such as
// http://localhost:16686.
func NewQuery(baseURL string) *Query {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	return &Query{baseURL: strings.TrimRight(baseURL, "/"), client: &http.Client{Transport: transport}}
}

// Close closes the connections that are kept for further calls. A Query needs
// no closing before the program ends.
func (q *Query) Close() { q.client.CloseIdleConnections() }

// Services lists the services that have spans, in alphabetical order.
func (q *Query) Services(ctx context.Context) ([]string, error) {
	var services []string
	if err := q.get(ctx, "/api/services", nil, &services); err != nil {
		return nil, fmt.Errorf("list the services in Jaeger: %w", err)
	}
	return services, nil
}

// Traces returns the traces in which service has a span, whatever their age:
// the newest, at most limit of them. A trace is whole, with the spans of the
// other services.
func (q *Query) Traces(ctx context.Context, service string, limit int) ([]Trace, error) {
	values := url.Values{
		"service": {service},
		"limit":   {strconv.Itoa(limit)},
		"start":   {"0"}, // the default is two days ago
		"raw":     {"true"},
	}
	var traces []Trace
	if err := q.get(ctx, "/api/traces", values, &traces); err != nil {
		return nil, fmt.Errorf("find traces of %s in Jaeger: %w", service, err)
	}
	return traces, nil
}

// Trace returns the trace with this id (hexadecimal), or ErrNotFound.
func (q *Query) Trace(ctx context.Context, id string) (*Trace, error) {
	var traces []Trace
	err := q.get(ctx, "/api/traces/"+url.PathEscape(id), url.Values{"raw": {"true"}}, &traces)
	if err == nil && len(traces) != 1 {
		err = fmt.Errorf("%d traces in the answer", len(traces))
	}
	if err != nil {
		return nil, fmt.Errorf("get trace %s from Jaeger: %w", id, err)
	}
	return &traces[0], nil
}

// TracesByID returns those of the traces with these ids (hexadecimal) that Jaeger
// has, in one request, which costs it less than half of what single ones do.
func (q *Query) TracesByID(ctx context.Context, ids []string) ([]Trace, error) {
	values := url.Values{"traceID": ids, "start": {"0"}, "raw": {"true"}}
	var traces []Trace
	if err := q.get(ctx, "/api/traces", values, &traces); err != nil {
		return nil, fmt.Errorf("get %d traces from Jaeger: %w", len(ids), err)
	}
	return traces, nil
}

// get decodes the data of Jaeger's answer into data.
func (q *Query) get(ctx context.Context, path string, values url.Values, data any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, q.baseURL+path+"?"+values.Encode(), nil)
	if err != nil {
		return err
	}
	resp, err := q.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return ErrNotFound
	}
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return fmt.Errorf("status %s: %s", resp.Status, printable.Line(string(body)))
	}
	answer := struct {
		Data any `json:"data"`
	}{data}
	return json.NewDecoder(resp.Body).Decode(&answer)
}
