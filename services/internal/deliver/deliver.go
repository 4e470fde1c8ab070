// Package deliver is how spans get to the backend, for the relay, for its replay and its
// redrive: what a post holds, and what follows from the answer. When that is done is
// package dispatch's.
package deliver

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"

	"fault-tolerant-tracing/services/internal/collector"
	"fault-tolerant-tracing/services/internal/dispatch"
	"fault-tolerant-tracing/services/internal/payload"
)

// Connections is how many posts are on their way at once. Jaeger carries more over 16
// connections than over 4.
const Connections = 16

// What travels in one post at most. Jaeger takes posts of some 500 spans at five times
// the rate of posts of 9, and larger ones not much faster.
const (
	MaxSpans = 500
	MaxBytes = 512 << 10
)

// Poster posts to a backend. It is implemented by collector.Collector.
type Poster interface {
	// Post blocks for the answer. Once it has returned it does not read body any more.
	Post(ctx context.Context, body []byte) error
	// URL is where it posts to, to be shown.
	URL() string
}

// Endpoint is where spans go to, and what stands on the topic.
type Endpoint struct {
	Poster
	Thrift bool // it is Jaeger's, for jaeger.thrift: each record travels by itself, as it is; else OTLP
	Format payload.Setting
}

// Setting names the variable that says where it is.
func (e Endpoint) Setting() string {
	if e.Thrift {
		return "JAEGER_ENDPOINT"
	}
	return "OTEL_EXPORTER_OTLP_ENDPOINT"
}

// Bounds returns the part of a [dispatch.Config] that says what travels together.
func (e Endpoint) Bounds() dispatch.Config {
	bounds := dispatch.Config{InFlight: Connections, MaxPieces: MaxSpans, MaxBytes: MaxBytes}
	if e.Thrift {
		bounds.MaxRecords = 1
	}
	return bounds
}

// Read implements Read of [dispatch.Config]: what holds no spans is never posted.
func (e Endpoint) Read(r *dispatch.Record) error {
	if len(r.Value) == 0 {
		return dispatch.ErrSkip
	}
	spans, err := e.Format.Parse(r.Value)
	if err != nil {
		return dispatch.Permanent(err)
	}
	r.Pieces, r.State = spans.Len(), spans
	return nil
}

// SpansOf returns the spans of a record, none if it holds none.
func (e Endpoint) SpansOf(r *dispatch.Record) payload.Spans {
	if spans, ok := r.State.(payload.Spans); ok {
		return spans
	}
	spans, _ := e.Format.Parse(r.Value) // State went with the value when that was dropped
	return spans
}

// Value returns the record with the spans of a part; of what holds none, all of it.
func (e Endpoint) Value(p dispatch.Part) []byte {
	if p.Whole() || len(p.Record.Value) == 0 {
		return p.Record.Value
	}
	return e.SpansOf(p.Record).Slice(p.From, p.To)
}

var errThriftOnly = errors.New("JAEGER_ENDPOINT takes jaeger.thrift only, and this record is OTLP or jaeger_proto: " +
	"set OTEL_EXPORTER_OTLP_ENDPOINT instead, to the OTLP receiver that Jaeger has since 1.35")

// Body returns what to post for these parts, and how many spans that are. When it was
// posted it is to be given to Free. The error is for the dispatcher.
func (e Endpoint) Body(parts []dispatch.Part) (body []byte, spans int, err error) {
	size := 0
	for _, p := range parts {
		spans += min(p.To, p.Pieces) - p.From
		size += len(p.Record.Value)
	}
	if e.Thrift {
		if _, is := e.SpansOf(parts[0].Record).Thrift(); !is {
			return nil, 0, errThriftOnly
		}
		return e.Value(parts[0]), spans, nil
	}
	body = slices.Grow(bodies.Get().([]byte), size+size/4)
	for _, p := range parts {
		body = e.SpansOf(p.Record).AppendOTLP(body, p.From, min(p.To, p.Pieces))
	}
	return body, spans, nil
}

// Free takes back what Body returned, which must not be used any more.
func (e Endpoint) Free(body []byte) {
	if !e.Thrift && cap(body) <= 2*MaxBytes {
		bodies.Put(body[:0]) //nolint:staticcheck // what a slice costs is little beside what it holds
	}
}

// bodies are used again: together they are more than all records, and would have most
// of the garbage collector's work made by them.
var bodies = sync.Pool{New: func() any { return []byte(nil) }}

// Verdict says what follows from the error of a post: the decision table of
// docs/architecture.md. An answer, or none, is evidence against what was posted as soon
// as others go through.
func Verdict(err error) error {
	var answer *collector.Refusal
	switch {
	case err == nil:
		return nil
	case Taken(err):
		return dispatch.Partial(err)
	case errors.As(err, &answer):
		err = dispatch.RetryAfter(err, answer.After)
		switch answer.Status {
		case http.StatusBadRequest:
			return dispatch.Conclusive(err)
		case http.StatusRequestEntityTooLarge:
			return dispatch.Split(err)
		}
	case Unreachable(err):
		return dispatch.Unreachable(err)
	}
	return err
}

// Taken tells whether a post was taken, be it but for some spans.
func Taken(err error) bool {
	var partly *collector.Rejection
	return err == nil || errors.As(err, &partly)
}

// Unreachable tells whether there was not even a connection, or none to trust.
func Unreachable(err error) bool {
	var untrusted *tls.CertificateVerificationError
	if errors.As(err, &untrusted) || errors.Is(err, http.ErrSchemeMismatch) {
		return true
	}
	var network *net.OpError
	if !errors.As(err, &network) {
		return false
	}
	switch network.Op {
	case "dial", "local error", "remote error": // the last two are those of crypto/tls
		return true
	}
	return false
}

// Misconfigured tells whether a person has to look at the endpoint's address, or at what
// stands before it: no collector answers so.
func Misconfigured(err error) bool {
	var answer *collector.Refusal
	if !errors.As(err, &answer) || answer.Status >= http.StatusInternalServerError {
		return false
	}
	switch answer.Status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return false
	}
	return true
}
