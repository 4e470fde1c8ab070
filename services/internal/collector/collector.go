// Package collector posts batches of jaeger.thrift to Jaeger's HTTP endpoint for
// them, and tells what it answered. What follows from an answer is the caller's.
package collector

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
)

const (
	postTimeout     = 10 * time.Second
	dialTimeout     = 5 * time.Second // shorter, so that a host that is away is told from an answer that does not come
	maxExplanation  = 512             // bytes of an error's body that are kept
	maxDrainedBytes = 64 << 10        // read to keep the connection; a longer answer closes it
)

// Collector is one endpoint of Jaeger's collector. It is safe for several
// goroutines.
type Collector struct {
	url    url.URL
	client *http.Client
}

// New posts to endpoint, to which the format that Jaeger's collector documents is
// added: ?format=jaeger.thrift. It logs in as user unless that is "" or endpoint names
// another one. Up to the given number of connections stay open between posts; more posts
// than that at once open further ones. It connects to nothing yet.
func New(endpoint url.URL, user, password string, connections int) *Collector {
	if user != "" && endpoint.User == nil {
		endpoint.User = url.UserPassword(user, password) // net/http sends it
	}
	query := endpoint.Query()
	if !query.Has("format") {
		query.Set("format", "jaeger.thrift")
		endpoint.RawQuery = query.Encode()
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = connections
	transport.DialContext = (&net.Dialer{Timeout: dialTimeout}).DialContext
	return &Collector{
		url: endpoint,
		client: &http.Client{
			Transport: transport,
			Timeout:   postTimeout,
			// A POST that follows a 301 becomes a GET, whose 200 says nothing.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Post sends one batch and blocks for the answer, for 10 seconds at most. The
// error is nil only if the collector took it, which is 2xx without a web page; a
// *Refusal if it answered something else; any other error means that there was no
// answer.
func (c *Collector) Post(ctx context.Context, batch []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url.String(), bytes.NewReader(batch))
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
		return notAPage(response)
	}
	return &Refusal{
		Status:      response.StatusCode,
		Explanation: oneLine(string(explanation)),
		Location:    response.Header.Get("Location"),
		After:       retryAfter(response.Header.Get("Retry-After"), time.Now()),
	}
}

// notAPage returns a Refusal if what answered is for people. Jaeger's UI answers
// every POST with 200 and a page, and so do pages to log in: nothing was taken.
func notAPage(response *http.Response) error {
	if !strings.HasPrefix(response.Header.Get("Content-Type"), "text/html") {
		return nil
	}
	return &Refusal{Status: response.StatusCode, Explanation: "a web page, as of Jaeger's UI; a collector answers with none"}
}

// oneLine returns text as one line without what could change a terminal.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.Join(strings.Fields(text), " "))
}

// URL is where Post sends to, to be shown: the format included, a password left
// out.
func (c *Collector) URL() string { return c.url.Redacted() }

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
