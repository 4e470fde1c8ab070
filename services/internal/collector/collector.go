// Package collector posts spans to an endpoint that takes them by HTTP, of OTLP or of
// jaeger.thrift, and tells what it answered. What follows from an answer is the caller's.
package collector

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"

	"fault-tolerant-tracing/services/internal/printable"
)

const (
	maxAnswer      = 64 << 10 // bytes that are read of an answer; a longer one closes the connection
	maxExplanation = 512      // bytes of it that are shown

	protobuf = "application/x-protobuf"
)

// DefaultTimeout is how long a post waits for its answer, unless something else is said. A
// connection has half of it, so that a host that is away is told from an answer that does
// not come.
const DefaultTimeout = 10 * time.Second

// Config says where to post, and how.
type Config struct {
	URL         url.URL // its user and password log in
	ContentType string
	Header      func() http.Header // of each post; nil: none
	TLS         *tls.Config        // nil: as Go does it
	Gzip        bool               // compress what is posted
	Timeout     time.Duration      // of a post with its answer; 0: [DefaultTimeout]

	// Connections is how many stay open between posts; more posts than that at once open
	// further ones.
	Connections int
	// Once has it connect once: when that connection has ended every post fails. So does one
	// whose answer says that the connection ends with it.
	Once bool
}

var (
	errGone   = errors.New("the process at the other end is gone, or has closed the connection")
	errCloses = errors.New("the connection ends with each answer, and must stay")
)

// OTLP is the config for an endpoint of OTLP/HTTP that takes Protocol Buffers.
func OTLP(endpoint url.URL) Config {
	return Config{URL: endpoint, ContentType: protobuf}
}

// Thrift is the config for Jaeger's endpoint for batches of jaeger.thrift, to which the
// format that Jaeger documents is added: ?format=jaeger.thrift. It logs in as user unless
// that is "" or endpoint names another one.
func Thrift(endpoint url.URL, user, password string) Config {
	if user != "" && endpoint.User == nil {
		endpoint.User = url.UserPassword(user, password) // net/http sends it
	}
	query := endpoint.Query()
	if !query.Has("format") {
		query.Set("format", "jaeger.thrift")
		endpoint.RawQuery = query.Encode()
	}
	return Config{URL: endpoint, ContentType: "application/x-thrift"}
}

// Collector is one endpoint. It is safe for several goroutines.
type Collector struct {
	cfg    Config
	client *http.Client
}

// New makes a collector. It connects to nothing yet.
func New(cfg Config) *Collector {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = cfg.Connections
	transport.TLSClientConfig = cfg.TLS
	if cfg.Once {
		transport.MaxConnsPerHost = 1
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	dialer := &net.Dialer{Timeout: cfg.Timeout / 2}
	var dialed atomic.Bool
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if cfg.Once && dialed.Swap(true) {
			return nil, errGone
		}
		c, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return conn{c}, nil
	}
	return &Collector{
		cfg: cfg,
		client: &http.Client{
			Transport: transport,
			Timeout:   cfg.Timeout,
			// A POST that follows a 301 becomes a GET, whose 200 says nothing.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Post sends spans and blocks for the answer, for the timeout at most. The error is nil
// only if the collector took all of them, which is a whole answer of 2xx without a web page; a *Rejection
// if it took the post but for some; a *Refusal if it answered something else; any other
// error means that there was no answer. Once it has returned body is not read any more.
func (c *Collector) Post(ctx context.Context, body []byte) error {
	if c.cfg.Gzip {
		body = compressed(body)
	}
	post := post{size: len(body), body: body}
	defer post.end()
	request, err := c.request(ctx, &post)
	if err != nil {
		return fmt.Errorf("post to jaeger: %w", err)
	}
	response, err := c.client.Do(request)
	if err != nil {
		return fmt.Errorf("post to jaeger: %w", err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if c.cfg.Once && response.Close {
		return fmt.Errorf("post to jaeger: %w", errCloses)
	}
	if response.StatusCode/100 == 2 {
		if err != nil {
			return fmt.Errorf("post to jaeger: it answered %s and broke off: %w", response.Status, err)
		}
		if err := notAPage(response); err != nil {
			return err
		}
		return rejection(response.Header.Get("Content-Type"), answer)
	}
	return &Refusal{
		Status:      response.StatusCode,
		Explanation: oneLine(explanation(response.Header.Get("Content-Type"), answer)),
		Location:    oneLine(response.Header.Get("Location")),
		After:       retryAfter(response.Header.Get("Retry-After"), time.Now()),
	}
}

func (c *Collector) request(ctx context.Context, p *post) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.cfg.URL.String(), p.reader())
	if err != nil {
		return nil, err
	}
	request.ContentLength = int64(p.size)
	request.GetBody = func() (io.ReadCloser, error) { return p.reader(), nil } // for a connection that was closed meanwhile
	if c.cfg.Header != nil {
		maps.Copy(request.Header, c.cfg.Header())
	}
	if host := request.Header.Get("Host"); host != "" {
		request.Host = host
	}
	request.Header.Set("Content-Type", c.cfg.ContentType)
	if c.cfg.Gzip {
		request.Header.Set("Content-Encoding", "gzip")
	}
	return request, nil
}

var compressors = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}

func compressed(body []byte) []byte {
	w := compressors.Get().(*gzip.Writer)
	defer compressors.Put(w)
	var b bytes.Buffer
	w.Reset(&b)
	_, _ = w.Write(body) // a buffer takes all
	_ = w.Close()
	return b.Bytes()
}

// notAPage returns a Refusal if what answered is for people. Jaeger's UI answers
// every POST with 200 and a page, and so do pages to log in: nothing was taken.
func notAPage(response *http.Response) error {
	if !strings.HasPrefix(response.Header.Get("Content-Type"), "text/html") {
		return nil
	}
	return &Refusal{Status: response.StatusCode, Explanation: "a web page, as of Jaeger's UI; a collector answers with none"}
}

// oneLine returns the beginning of text as one line.
func oneLine(text string) string { return printable.Line(text[:min(len(text), maxExplanation)]) }

// URL is where Post sends to, to be shown, a password left out.
func (c *Collector) URL() string { return c.cfg.URL.Redacted() }

// Close closes the connections that are idle; those of posts on their way are
// closed behind them. The collector can still be used.
func (c *Collector) Close() { c.client.CloseIdleConnections() }

// Refusal is an answer by which nothing was taken: other than 2xx, or a web page.
type Refusal struct {
	Status      int
	Explanation string        // the beginning of its body, as one line
	Location    string        // where it redirects to, which is not followed
	After       time.Duration // when to try again, as the collector asked; 0: it did not
}

func (r *Refusal) Error() string {
	text := fmt.Sprintf("jaeger answered %d %s", r.Status, http.StatusText(r.Status))
	if r.Explanation != "" {
		text += ": " + r.Explanation
	}
	if r.Location != "" {
		text += " (to " + r.Location + ", not followed)"
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
