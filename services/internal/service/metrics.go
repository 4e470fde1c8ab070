package service

import (
	"strconv"
	"time"

	"fault-tolerant-tracing/services/internal/consume"
	"fault-tolerant-tracing/tracing"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	holdingDesc  = prometheus.NewDesc("consumer_holding", "1 while what the consumer needs is away and it waits, else 0.", nil, nil)
	inFlightDesc = prometheus.NewDesc("consumer_in_flight", "Records being worked on.", nil, nil)
	recordsDesc  = prometheus.NewDesc("consumer_records_total", "Records finished, by result: done, skipped or set_aside.", []string{"result"}, nil)
	retriesDesc  = prometheus.NewDesc("consumer_retries_total", "Tries of a record that failed for the time being.", nil, nil)
	oldestDesc   = prometheus.NewDesc("consumer_oldest_unfinished_age_seconds", "Age of the oldest record that was read and is not finished; 0 if there is none.", nil, nil)
	commitDesc   = prometheus.NewDesc("consumer_commit_errors_total", "Commits of offsets that Kafka refused; they go with the next one.", nil, nil)
	lagDesc      = prometheus.NewDesc("consumer_lag", "Records of an assigned partition that are not finished.", []string{"partition"}, nil)
)

// ConsumerMetrics exposes what a consumer is doing; status is the consumer's.
func ConsumerMetrics(status func() consume.Status) prometheus.Collector {
	return consumerMetrics(status)
}

type consumerMetrics func() consume.Status

// Describe implements prometheus.Collector.
func (m consumerMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{holdingDesc, inFlightDesc, recordsDesc, retriesDesc, oldestDesc, commitDesc, lagDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m consumerMetrics) Collect(ch chan<- prometheus.Metric) {
	s := m()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	counter := func(d *prometheus.Desc, value uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
	}
	holding := 0.0
	if s.State == consume.Holding {
		holding = 1
	}
	gauge(holdingDesc, holding)
	gauge(inFlightDesc, float64(s.InFlight))
	counter(recordsDesc, s.Counts.Done, "done")
	counter(recordsDesc, s.Counts.Skipped, "skipped")
	counter(recordsDesc, s.Counts.SetAside, "set_aside")
	counter(retriesDesc, s.Counts.Retries)
	counter(commitDesc, s.Counts.CommitErrors)
	age := 0.0
	if s.Oldest != nil {
		age = max(0, time.Since(*s.Oldest).Seconds())
	}
	gauge(oldestDesc, age)
	for _, p := range s.Partitions {
		if p.Lag >= 0 { // known
			gauge(lagDesc, float64(p.Lag), strconv.Itoa(int(p.Partition)))
		}
	}
}

// TracerMetrics exposes what a tracer had to leave out of the contexts it read and wrote.
func TracerMetrics(tracer *tracing.Tracer) prometheus.Collector { return tracerMetrics{tracer} }

var baggageDesc = prometheus.NewDesc("tracing_baggage_dropped_total",
	"Baggage items that could not travel with a record or request, by reason: invalid_name or too_large.", []string{"reason"}, nil)

type tracerMetrics struct{ tracer *tracing.Tracer }

// Describe implements prometheus.Collector.
func (tracerMetrics) Describe(ch chan<- *prometheus.Desc) { ch <- baggageDesc }

// Collect implements prometheus.Collector.
func (m tracerMetrics) Collect(ch chan<- prometheus.Metric) {
	dropped := m.tracer.BaggageDropped()
	ch <- prometheus.MustNewConstMetric(baggageDesc, prometheus.CounterValue, float64(dropped.InvalidName), "invalid_name")
	ch <- prometheus.MustNewConstMetric(baggageDesc, prometheus.CounterValue, float64(dropped.TooLarge), "too_large")
}
