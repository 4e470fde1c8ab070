package httptrace

import (
	"cmp"
	"io"
	"net/http"
	"net/url"
	"sync"

	"github.com/opentracing-contrib/go-stdlib/nethttp"
	"github.com/opentracing/opentracing-go"
	"github.com/opentracing/opentracing-go/ext"
	"github.com/opentracing/opentracing-go/log"
)

// RoundTripper returns next, or http.DefaultTransport if next is nil, with two
// spans around each request: "METHOD /path", a child of the span in the
// request's context, and nethttp's "HTTP METHOD" within it. They end when the
// response's body is closed, so it must be, or when the request fails; a failure
// and a status from 500 on are tagged as errors. The tag peer.service is the host
// name of the request; http.url is its URL without the password, but with the
// query. As the path is part of the name, it suits clients whose paths hold no
// ids. It is safe for several goroutines, and not for protocol upgrades.
func RoundTripper(tracer opentracing.Tracer, next http.RoundTripper) http.RoundTripper {
	return roundTripper{tracer, &nethttp.Transport{RoundTripper: next}}
}

type roundTripper struct {
	tracer opentracing.Tracer
	next   *nethttp.Transport
}

func (t roundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	name := cmp.Or(req.Method, http.MethodGet) + " " + cmp.Or(req.URL.Path, "/")
	// A RoundTripper must not change the request it was given, nethttp adds headers.
	traced, trace := nethttp.TraceRequest(t.tracer, req.Clone(req.Context()),
		nethttp.OperationName(name), nethttp.URLTagFunc((*url.URL).Redacted))
	res, err := t.next.RoundTrip(traced)
	span := trace.Span()
	ext.SpanKindRPCClient.Set(span)
	ext.Component.Set(span, "net/http")
	ext.PeerService.Set(span, req.URL.Hostname())
	if err != nil {
		ext.LogError(span, err, log.Message(err.Error()))
		trace.Finish()
		return nil, err
	}
	ext.HTTPStatusCode.Set(span, uint16(res.StatusCode))
	if res.StatusCode >= http.StatusInternalServerError {
		ext.Error.Set(span, true)
	}
	res.Body = newBody(res.Body, trace.Finish)
	return res, nil
}

// body ends a trace when it is closed. Closing it again does nothing: nethttp
// would report its span once more.
type body struct {
	io.Reader
	close func() error
}

func newBody(inner io.ReadCloser, finish func()) body {
	return body{inner, sync.OnceValue(func() error {
		defer finish()
		return inner.Close()
	})}
}

func (b body) Close() error { return b.close() }
