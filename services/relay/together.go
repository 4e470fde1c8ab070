package main

import (
	"context"
	"errors"
	"net/http"

	"fault-tolerant-tracing/services/internal/collector"
	"fault-tolerant-tracing/services/internal/consume"
	"fault-tolerant-tracing/tracing/batch"
)

// What travels in one post at most. Jaeger takes posts of some 500 spans at five
// times the rate of posts of 9, and larger ones not much faster.
const (
	maxSpans = 500
	maxBytes = 512 << 10
)

// together says which records travel in one post: those of one process, which
// wait at the same time.
func (r *relay) together() *consume.Together {
	return &consume.Together{Key: r.read, Weight: maxSpans, Bytes: maxBytes, Handle: r.handleTogether}
}

// handleTogether delivers records of one process in one post. If Jaeger refuses
// that as malformed or too large, it is for one of them or for all together: each
// is posted by itself, so that a bad one takes no other along.
func (r *relay) handleTogether(ctx context.Context, records []*consume.Record) error {
	frames, spans, size := make([]batch.Frame, len(records)), 0, 0
	for i, rec := range records {
		frames[i] = rec.State.(*progress).frame
		spans += frames[i].Spans()
		size += len(rec.Value)
	}
	value, ok := batch.Merge(make([]byte, 0, size), frames...)
	if !ok {
		return consume.ErrApart
	}
	err := r.post(ctx, value, spans)
	if err == nil {
		for _, rec := range records {
			r.metrics.delivered(rec)
		}
		return nil
	}
	var answer *collector.Refusal
	if errors.As(err, &answer) && (answer.Status == http.StatusBadRequest || answer.Status == http.StatusRequestEntityTooLarge) {
		return consume.ErrApart
	}
	if ctx.Err() != nil {
		return err
	}
	d := decide(err, value, 0)
	r.logFailure(records[0], d, err)
	return verdict(d, err)
}
