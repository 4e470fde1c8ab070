package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"fault-tolerant-tracing/services/internal/collector"
	"fault-tolerant-tracing/services/internal/consume"
	"fault-tolerant-tracing/services/internal/deadletter"
	"fault-tolerant-tracing/tracing/batch"
)

// inFlight is how many posts are on their way at once. Jaeger carries more
// over 16 connections than over 4.
const inFlight = 16

// relay is the work for one record of tracing-topic. It is safe for several
// goroutines.
type relay struct {
	jaeger   *collector.Collector
	dlq      *deadletter.Queue
	consumer atomic.Pointer[consume.Consumer] // nil while the relay waits for Kafka
	log      *slog.Logger

	sending, failing throttled // the article's two log lines

	spans atomic.Uint64 // taken by Jaeger
	parts atomic.Uint64 // set aside, of records that had to be split
}

func newRelay(jaeger *collector.Collector, log *slog.Logger) *relay {
	return &relay{
		jaeger:  jaeger,
		log:     log,
		sending: throttled{interval: logInterval},
		failing: throttled{interval: logInterval},
	}
}

func (r *relay) close(context.Context) error {
	r.sending.flush()
	r.failing.flush()
	r.jaeger.Close()
	return nil
}

// progress is what has become of the parts of a record. It is kept between
// tries, so that what Jaeger took of a split record is not sent again.
type progress struct {
	left  [][]byte
	taken bool // Jaeger took at least one
	base  int  // Isolated when the first of those left became the first
}

// next goes on to other parts. What spoke against the part before does not speak
// against them.
func (p *progress) next(rec *consume.Record, left [][]byte) {
	p.left, p.base = left, rec.Isolated
}

// handle delivers one record, as [consume.Handler] says.
func (r *relay) handle(ctx context.Context, rec *consume.Record) error {
	if len(rec.Value) == 0 {
		r.log.Warn("record without a value skipped", place(rec)...)
		return consume.ErrSkip
	}
	p, begun := rec.State.(*progress)
	if !begun {
		p = &progress{left: [][]byte{rec.Value}}
		rec.State = p
	}
	for len(p.left) > 0 {
		if err := r.deliver(ctx, rec, p); err != nil {
			return err
		}
	}
	if !p.taken {
		return consume.ErrSkip // each part is set aside: no proof that Jaeger works
	}
	return nil
}

// deliver posts the first part that is left and carries out what follows from
// the answer.
func (r *relay) deliver(ctx context.Context, rec *consume.Record, p *progress) error {
	value := p.left[0]
	spans := countSpans(value)
	r.sending.add(spans, func(total int) { r.log.Info(fmt.Sprintf("sending %d span(s) to jaeger", total)) })
	err := r.jaeger.Post(ctx, value)
	if err == nil {
		r.spans.Add(uint64(spans))
		p.taken = true
		p.next(rec, p.left[1:])
		return nil
	}
	if ctx.Err() != nil {
		return err
	}
	switch d := decide(err, value, rec.Isolated-p.base); {
	case d == split:
		f, _ := batch.Parse(value) // decide has seen that it parses
		first, second := f.Halves()
		p.next(rec, append([][]byte{first, second}, p.left[1:]...))
		return nil
	case d == giveUp && len(value) < len(rec.Value):
		return r.setAsidePart(ctx, rec, p, err)
	case d == giveUp:
		return verdict(d, err)
	default:
		r.logFailure(rec, d, err)
		return verdict(d, err)
	}
}

func (r *relay) logFailure(rec *consume.Record, d decision, err error) {
	level, offset, args := slog.LevelInfo, int64(rec.TopicPartition.Offset), append(place(rec), "err", err)
	if d == misconfigured {
		level = slog.LevelError
		args = append(args, "cause", "JAEGER_ENDPOINT or what stands before it is wrong", "url", r.jaeger.URL())
	}
	r.failing.add(1, func(times int) {
		r.log.Log(context.Background(), level, fmt.Sprintf("could not send spans to jaeger, retrying offset %d", offset),
			append(args, "times", times)...)
	})
}

// setAsidePart keeps the part of a record that Jaeger cannot take.
func (r *relay) setAsidePart(ctx context.Context, rec *consume.Record, p *progress, reason error) error {
	if err := r.dlq.SetAsideValue(ctx, rec, p.left[0], reason); err != nil {
		return err
	}
	r.parts.Add(1)
	r.log.Warn("part of a record set aside", append(place(rec), "spans", countSpans(p.left[0]), "err", reason)...)
	p.next(rec, p.left[1:])
	return nil
}

func place(rec *consume.Record) []any {
	return []any{"partition", rec.TopicPartition.Partition, "offset", int64(rec.TopicPartition.Offset)}
}

// countSpans returns how many spans a record carries; 0 if it is no batch.
func countSpans(value []byte) int {
	f, err := batch.Parse(value)
	if err != nil {
		return 0
	}
	return f.Spans()
}
