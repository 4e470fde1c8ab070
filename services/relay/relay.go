package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/opentracing/opentracing-go"
	"golang.org/x/time/rate"

	"fault-tolerant-tracing/services/internal/collector"
	"fault-tolerant-tracing/services/internal/consume"
	"fault-tolerant-tracing/services/internal/deadletter"
	"fault-tolerant-tracing/tracing/batch"
)

// inFlight is how many posts are on their way at once. Jaeger carries more
// over 16 connections than over 4.
const inFlight = 16

// slow is how long a post may take before fewer of them are made at once.
const slow = time.Second

// relay is the work for the records of tracing-topic. It is safe for several
// goroutines.
type relay struct {
	jaeger   *collector.Collector
	limit    *rate.Limiter // of spans
	dlq      *deadletter.Queue
	consumer atomic.Pointer[consume.Consumer] // nil while the relay waits for Kafka
	tracer   opentracing.Tracer
	log      *slog.Logger
	metrics  *metrics
	ledger   *ledger

	sending, failing throttled // the article's two log lines
}

func newRelay(jaeger *collector.Collector, spansPerSecond int, tracer opentracing.Tracer, log *slog.Logger) *relay {
	return &relay{
		jaeger:  jaeger,
		limit:   newLimiter(spansPerSecond),
		tracer:  tracer,
		log:     log,
		metrics: newMetrics(),
		ledger:  newLedger(),
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
	frame batch.Frame // of the whole record; the zero one if it is no batch
	left  []part
	taken bool // Jaeger took at least one
	base  int  // Isolated when the first of those left became the first

	malformed int // 1 + Isolated when that was first answered with 400; 0: it was not
}

// isolated is how often the answer has been the same for the first part that is
// left, others being taken meanwhile. That it was answered with 500 before does
// not make it malformed.
func (p *progress) isolated(rec *consume.Record, err error) int {
	var answer *collector.Refusal
	if !errors.As(err, &answer) || answer.Status != http.StatusBadRequest {
		return rec.Isolated - p.base
	}
	if p.malformed == 0 {
		p.malformed = 1 + rec.Isolated
	}
	return 1 + rec.Isolated - p.malformed
}

// part is a batch of some of the spans of a record, at first of all of them.
type part struct {
	value []byte
	spans int // 0 if it is no batch
}

// next goes on to other parts. What spoke against the part before does not speak
// against them.
func (p *progress) next(rec *consume.Record, left []part) {
	p.left, p.base, p.malformed = left, rec.Isolated, 0
}

// read looks at each record in the order of the topic, and says with which others
// it may go: it is the Key of [consume.Together].
func (r *relay) read(rec *consume.Record) (key uint64, spans int) {
	frame, err := batch.Parse(rec.Value)
	r.ledger.read(rec.TopicPartition.Partition, int64(rec.TopicPartition.Offset), rec.Key, frame)
	rec.State = &progress{frame: frame, left: []part{{rec.Value, frame.Spans()}}}
	if err != nil {
		return 0, 0
	}
	return max(xxhash.Sum64(frame.Process()), 1), frame.Spans()
}

// handle delivers one record, as [consume.Handler] says.
func (r *relay) handle(ctx context.Context, rec *consume.Record) error {
	if len(rec.Value) == 0 {
		r.log.Warn("record without a value skipped", place(rec)...)
		return consume.ErrSkip
	}
	p := rec.State.(*progress)
	for len(p.left) > 0 {
		if err := r.deliver(ctx, rec, p); err != nil {
			return err
		}
	}
	if !p.taken {
		return consume.ErrSkip // each part is set aside: no proof that Jaeger works
	}
	r.metrics.delivered(rec)
	return nil
}

// deliver posts the first part that is left and carries out what follows from
// the answer.
func (r *relay) deliver(ctx context.Context, rec *consume.Record, p *progress) error {
	first := p.left[0]
	err := r.post(ctx, first.value, first.spans)
	if err == nil {
		p.taken = true
		p.next(rec, p.left[1:])
		return nil
	}
	if ctx.Err() != nil {
		return err
	}
	switch d := decide(err, first.value, p.isolated(rec, err)); {
	case d == split:
		p.next(rec, append(halves(first), p.left[1:]...))
		return nil
	case d == giveUp && len(first.value) < len(rec.Value):
		return r.setAsidePart(ctx, rec, p, err)
	default:
		if d != giveUp {
			r.logFailure(rec, d, err)
		}
		return verdict(d, err)
	}
}

// halves splits a part of two or more spans.
func halves(p part) []part {
	frame, _ := batch.Parse(p.value) // decide has seen that it parses
	first, second := frame.Halves()
	return []part{{first, p.spans / 2}, {second, p.spans - p.spans/2}}
}

// post sends a batch of so many spans to Jaeger, and counts it.
func (r *relay) post(ctx context.Context, value []byte, spans int) error {
	if err := wait(ctx, r.limit, spans); err != nil {
		return err
	}
	r.sending.add(spans, func(total int) { r.log.Info(fmt.Sprintf("sending %d span(s) to jaeger", total)) })
	began := time.Now()
	err := r.jaeger.Post(ctx, value)
	r.metrics.posted(err, time.Since(began), spans, len(value))
	return err
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
	letter := deadletter.Of(rec.Message, reason)
	letter.Value = p.left[0].value
	if err := r.dlq.Write(ctx, letter); err != nil {
		return err
	}
	r.metrics.setAside(reason)
	r.metrics.parts.Add(1)
	r.log.Warn("part of a record set aside", append(place(rec), "spans", p.left[0].spans, "err", reason)...)
	p.next(rec, p.left[1:])
	return nil
}

// setAside keeps a record that Jaeger cannot take.
func (r *relay) setAside(ctx context.Context, rec *consume.Record, reason error) error {
	if err := r.dlq.Write(ctx, deadletter.Of(rec.Message, reason)); err != nil {
		return err
	}
	r.metrics.setAside(reason)
	return nil
}

func place(rec *consume.Record) []any {
	return []any{"partition", rec.TopicPartition.Partition, "offset", int64(rec.TopicPartition.Offset)}
}
