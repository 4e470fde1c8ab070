package tracing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"fault-tolerant-tracing/tracing/internal/outbox"

	"github.com/uber/jaeger-client-go"
	jaegerhttp "github.com/uber/jaeger-client-go/transport"
)

const idleTimeout = 90 * time.Second // of a connection to the collector

// direct posts batches of 100 spans to Jaeger's collector, as the article's first
// design did. A batch that the collector does not take is lost; the reporter logs
// the error. Redirects are not followed, and no proxy is used.
type direct struct {
	losses
	*jaegerhttp.HTTPTransport

	client  *http.Transport
	closing context.Context // ends when there is no more time to post
	giveUp  context.CancelFunc
}

func newDirect(endpoint, user, password string, log *slog.Logger) (*direct, error) {
	if u, err := url.Parse(endpoint); err != nil || u.Host == "" {
		return nil, errors.New("endpoint: want the URL of a collector, http://host:14268/api/traces")
	}
	d := &direct{losses: losses{outbox.NewTally(log)}, client: &http.Transport{IdleConnTimeout: idleTimeout}}
	d.closing, d.giveUp = context.WithCancel(context.Background())
	options := []jaegerhttp.HTTPOption{jaegerhttp.HTTPRoundTripper(d)}
	if user != "" {
		options = append(options, jaegerhttp.HTTPBasicAuth(user, password))
	}
	d.HTTPTransport = jaegerhttp.NewHTTPTransport(endpoint, options...)
	return d, nil
}

func (d *direct) Append(span *jaeger.Span) (int, error) {
	return d.count(d.HTTPTransport.Append(span))
}

func (d *direct) Flush() (int, error) {
	d.tally.Report()
	return d.count(d.HTTPTransport.Flush())
}

func (d *direct) count(n int, err error) (int, error) {
	if err != nil {
		d.tally.FailedToEmit(n, "jaeger did not take them")
	}
	return n, err
}

// RoundTrip implements http.RoundTripper: a post ends with d.closing at the latest.
func (d *direct) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(req.Context())
	defer cancel()
	defer context.AfterFunc(d.closing, cancel)()
	resp, err := d.client.RoundTrip(req.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil { // nobody reads the answer, and ctx ends with this function
		return nil, err
	}
	if resp.StatusCode >= 300 && resp.StatusCode < 400 { // the client would follow it with a GET, without the spans
		return nil, fmt.Errorf("the collector answers %s, redirects are not followed", resp.Status)
	}
	resp.Body = http.NoBody
	return resp, nil
}

func (d *direct) flushUpTo(context.Context, uint64) error { return nil }

func (d *direct) shutdownAfter(ctx context.Context, tracer io.Closer) error {
	defer d.Close()
	lost := d.stats().FailedToEmit
	defer context.AfterFunc(ctx, d.giveUp)()
	err := tracer.Close()
	if left := int(d.stats().FailedToEmit - lost); left > 0 && ctx.Err() != nil {
		return errors.Join(err, &LeftBehindError{Spans: left, Err: context.Cause(ctx)})
	}
	return err
}

func (d *direct) Close() error {
	d.giveUp()
	d.tally.Finish()
	d.client.CloseIdleConnections()
	return nil
}
