package service

import (
	"github.com/prometheus/client_golang/prometheus"

	"fault-tolerant-tracing/tracing"
)

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
