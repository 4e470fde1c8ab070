package main

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fault-tolerant-tracing/services/internal/collector"
	"fault-tolerant-tracing/services/internal/deadletter"
	"fault-tolerant-tracing/services/internal/deliver"
	"fault-tolerant-tracing/services/internal/dispatch"
)

// metrics are the relay's own. Those of its consumer are registered beside them.
type metrics struct {
	spans, bytes atomic.Uint64 // that Jaeger took
	rejected     atomic.Uint64 // spans of these that it refused all the same
	parts        atomic.Uint64 // set aside, of records that had to be split

	posts     *prometheus.CounterVec
	asides    *prometheus.CounterVec
	duration  prometheus.Histogram
	delay     prometheus.Histogram
	retention prometheus.Gauge
}

func newMetrics() *metrics {
	return &metrics{
		posts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "relay_posts_total", Help: "Posts to Jaeger, by outcome: the status of the answer, or none.",
		}, []string{"outcome"}),
		asides: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "relay_set_aside_total", Help: "Records, and parts of records, set aside, by reason: malformed, the status that Jaeger answered, or none if it did not answer.",
		}, []string{"reason"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "relay_post_duration_seconds", Help: "Time from a post to its answer.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15),
		}),
		delay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "relay_delivery_delay_seconds", Help: "Time from the timestamp of a record until Jaeger had taken it.",
			Buckets: []float64{.005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 60, 300, 1800, 3600, 6 * 3600, 24 * 3600, 3 * 24 * 3600, 7 * 24 * 3600},
		}),
		retention: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "relay_topic_retention_seconds", Help: "How long Kafka keeps a record of the topic; -1: for ever.",
		}),
	}
}

// collectors are what is to be registered.
func (m *metrics) collectors(dlq *deadletter.Queue) []prometheus.Collector {
	total := func(name, help string, value func() uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(value()) })
	}
	return []prometheus.Collector{
		total("relay_spans_total", "Spans that Jaeger took.", m.spans.Load),
		total("relay_spans_rejected_total", "Spans that Jaeger refused for good in posts that it took otherwise.", m.rejected.Load),
		total("relay_bytes_total", "Bytes of the posts that Jaeger took, before compression.", m.bytes.Load),
		total("relay_dead_letters_cut_total", "Records, and parts of records, set aside that were too large for the dead-letter topic and are cut.", dlq.Cut),
		m.posts, m.asides, m.duration, m.delay, m.retention,
	}
}

// posted counts a post and its answer. It returns how many of the spans Jaeger has taken.
func (m *metrics) posted(err error, took time.Duration, spans, size int) (taken int) {
	m.posts.WithLabelValues(outcome(err)).Inc()
	m.duration.Observe(took.Seconds())
	if !deliver.Taken(err) {
		return 0
	}
	if partly := (*collector.Rejection)(nil); errors.As(err, &partly) {
		m.rejected.Add(uint64(partly.Spans))
		spans = max(0, spans-int(partly.Spans))
	}
	m.spans.Add(uint64(spans))
	m.bytes.Add(uint64(size))
	return spans
}

// delivered counts a record that Jaeger has taken, if it has a timestamp.
func (m *metrics) delivered(rec *dispatch.Record) {
	if !rec.Time.IsZero() {
		m.delay.Observe(max(0, time.Since(rec.Time).Seconds()))
	}
}

// setAside counts a record, or a part of one, that was set aside.
func (m *metrics) setAside(reason error, part bool) {
	label := outcome(reason)
	if label == "none" && dispatch.IsPermanent(reason) {
		label = "malformed"
	}
	m.asides.WithLabelValues(label).Inc()
	if part {
		m.parts.Add(1)
	}
}

// outcome is the status of an answer as a label.
func outcome(err error) string {
	var answer *collector.Refusal
	switch {
	case err == nil:
		return "2xx"
	case deliver.Taken(err):
		return "partly rejected"
	case errors.As(err, &answer):
		return strconv.Itoa(answer.Status)
	case errors.Is(err, context.Canceled):
		return "cancelled"
	}
	return "none"
}
