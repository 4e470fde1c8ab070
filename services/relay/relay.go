package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/dustin/go-humanize/english"
	"github.com/opentracing/opentracing-go"
	"golang.org/x/time/rate"

	"fault-tolerant-tracing/services/internal/consume"
	"fault-tolerant-tracing/services/internal/deadletter"
	"fault-tolerant-tracing/services/internal/deliver"
	"fault-tolerant-tracing/services/internal/dispatch"
	"fault-tolerant-tracing/services/internal/ledger"
)

// slow is how long a post may take before fewer of them are made at once.
const slow = time.Second

// relay is the work for the records of tracing-topic. It is safe for several
// goroutines.
type relay struct {
	endpoint deliver.Endpoint
	ack      ack
	dlq      *deadletter.Queue
	consumer atomic.Pointer[consume.Consumer] // nil while the relay waits for Kafka
	tracer   opentracing.Tracer
	log      *slog.Logger
	metrics  *metrics
	ledger   *ledger.Ledger
	outage   atomic.Pointer[dispatch.Outage] // the last one that is over; nil: there was none

	sending, failing throttled // the article's two log lines
	sent             throttled // what came of the first
	refusals         refusals
}

func newRelay(endpoint deliver.Endpoint, tracer opentracing.Tracer, log *slog.Logger) *relay {
	return &relay{
		endpoint: endpoint,
		tracer:   tracer,
		log:      log,
		metrics:  newMetrics(),
		ledger:   ledger.New(),
		sending:  throttled{interval: logInterval},
		failing:  throttled{interval: logInterval},
		sent:     throttled{interval: logInterval},
	}
}

func (r *relay) close(context.Context) error {
	r.sending.flush()
	r.failing.flush()
	r.sent.flush()
	return nil
}

// dispatch says what to do with the records.
func (r *relay) dispatch(spansPerSecond int) dispatch.Config {
	cfg := r.endpoint.Bounds()
	cfg.Slow = slow
	cfg.Limit = newLimit(spansPerSecond)
	cfg.Read, cfg.Handle, cfg.SetAside = r.read, r.handle, r.setAside
	cfg.Finished, cfg.Recovered = r.finished, r.recovered
	return cfg
}

// newLimit lets so many spans a second through; 0: as many as there are.
func newLimit(spansPerSecond int) *rate.Limiter {
	if spansPerSecond == 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(spansPerSecond), max(spansPerSecond, deliver.MaxSpans))
}

// read looks at each record in the order of the topic.
func (r *relay) read(rec *dispatch.Record) error {
	err := r.endpoint.Read(rec)
	if errors.Is(err, dispatch.ErrSkip) {
		r.log.Warn("record without a value skipped", "partition", rec.TopicPartition.Partition, "offset", int64(rec.TopicPartition.Offset))
	}
	r.ledger.Read(rec.TopicPartition.Partition, int64(rec.TopicPartition.Offset), rec.Key, ledger.Of(rec.Headers, r.endpoint.SpansOf(rec)))
	return err
}

// handle posts some parts of records to the backend in one post.
func (r *relay) handle(ctx context.Context, parts []dispatch.Part) error {
	began, taken := time.Now(), 0
	body, spans, err := r.endpoint.Body(parts)
	if err == nil {
		defer r.endpoint.Free(body)
		r.sending.add(spans, func(total int) { r.log.Info(fmt.Sprintf("sending %d span(s) to jaeger", total)) })
		began = time.Now()
		err = r.endpoint.Post(ctx, body)
		taken = r.metrics.posted(err, time.Since(began), spans, len(body))
	}
	switch {
	case deliver.Taken(err):
		r.refusals.end()
		r.sent.add(taken, func(total int) { r.log.Info(fmt.Sprintf("sent %d span(s) to jaeger", total)) })
		if err != nil {
			r.log.Warn("jaeger took spans, but refused some for good", "spans", spans, "err", err)
		}
	case ctx.Err() == nil:
		r.refusals.add(began)
		r.logFailure(parts[0], err)
	}
	return deliver.Verdict(err)
}

func (r *relay) logFailure(p dispatch.Part, err error) {
	level, partition, offset := slog.LevelInfo, p.TopicPartition.Partition, int64(p.TopicPartition.Offset)
	args := []any{"partition", partition, "offset", offset, "err", err}
	if deliver.Misconfigured(err) {
		level = slog.LevelError
		args = append(args, "cause", r.endpoint.Setting()+" or what stands before it is wrong", "url", r.endpoint.URL())
	}
	r.failing.add(1, func(times int) {
		r.log.Log(context.Background(), level, fmt.Sprintf("could not send spans to jaeger, retrying offset %d of partition %d%s", offset, partition, r.backlog()),
			append(args, "times", times)...)
	})
}

// backlog says how many records are not delivered yet, as far as that is known.
func (r *relay) backlog() string {
	consumer, records := r.consumer.Load(), int64(0)
	if consumer == nil {
		return ""
	}
	for _, p := range consumer.Status().Partitions {
		records += max(0, p.Lag)
	}
	if records == 0 {
		return ""
	}
	return ", " + english.Plural(int(records), "record waits", "records wait")
}

// setAside keeps a part of a record that Jaeger cannot take.
func (r *relay) setAside(ctx context.Context, p dispatch.Part, reason error) error {
	letter := deadletter.Of(p.Message, reason)
	letter.Value = r.endpoint.Value(p)
	if err := r.dlq.Write(ctx, letter); err != nil {
		return err
	}
	r.metrics.setAside(reason, !p.Whole())
	return nil
}

// finished counts a record that Jaeger has taken.
func (r *relay) finished(rec *dispatch.Record, err error) {
	if err == nil {
		r.metrics.delivered(rec)
	}
}
