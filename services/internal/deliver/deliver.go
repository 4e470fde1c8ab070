// Package deliver is how spans get to Jaeger, for the relay, for its replay and its
// redrive: which records may travel in one post, what a post holds, and what follows
// from the answer. When that is done is package dispatch's.
package deliver

import (
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/cespare/xxhash/v2"

	"fault-tolerant-tracing/services/internal/collector"
	"fault-tolerant-tracing/services/internal/dispatch"
	"fault-tolerant-tracing/tracing/batch"
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

// Read implements Read of [dispatch.Config]: what is no batch is never posted, and
// batches of one process may travel together.
func Read(r *dispatch.Record) error {
	if len(r.Value) == 0 {
		return dispatch.ErrSkip
	}
	frame, err := batch.Parse(r.Value)
	if err != nil {
		return dispatch.Permanent(fmt.Errorf("no batch of jaeger.thrift: %w", err))
	}
	r.Group, r.Pieces, r.State = max(xxhash.Sum64(frame.Process()), 1), frame.Spans(), frame
	return nil
}

// FrameOf returns the batch that a record holds, the zero one if it holds none.
func FrameOf(r *dispatch.Record) batch.Frame {
	if frame, ok := r.State.(batch.Frame); ok {
		return frame
	}
	frame, _ := batch.Parse(r.Value) // State went with the value when that was dropped
	return frame
}

// Value returns the batch with the spans of a part; of what is no batch, all of it.
func Value(p dispatch.Part) []byte {
	if p.Whole() || len(p.Record.Value) == 0 {
		return p.Record.Value
	}
	return FrameOf(p.Record).Slice(p.From, p.To)
}

// Body returns what to post for these parts, and how many spans that are. The error
// is for the dispatcher.
func Body(parts []dispatch.Part) (body []byte, spans int, err error) {
	for _, p := range parts {
		spans += min(p.To, p.Pieces) - p.From
	}
	if len(parts) == 1 {
		return Value(parts[0]), spans, nil
	}
	frames, size := make([]batch.Frame, len(parts)), 0
	for i, p := range parts {
		frames[i] = FrameOf(p.Record)
		size += len(p.Record.Value)
	}
	body, ok := batch.Merge(make([]byte, 0, size), frames...)
	if !ok {
		return nil, 0, dispatch.Split(errors.New("cannot travel together"))
	}
	return body, spans, nil
}

// Verdict says what follows from the error of a post: the decision table of
// docs/architecture.md. An answer, or none, is evidence against what was posted as soon
// as others go through.
func Verdict(err error) error {
	var answer *collector.Refusal
	switch {
	case err == nil:
		return nil
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

// Unreachable tells whether there was not even a connection.
func Unreachable(err error) bool {
	var network *net.OpError
	return errors.As(err, &network) && network.Op == "dial"
}

// Misconfigured tells whether a person has to look at JAEGER_ENDPOINT, or at what
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
