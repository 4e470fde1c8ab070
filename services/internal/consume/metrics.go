package consume

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fault-tolerant-tracing/services/internal/dispatch"
)

var (
	holdingDesc  = prometheus.NewDesc("consumer_holding", "1 while what the consumer needs is away and it waits, else 0.", nil, nil)
	inFlightDesc = prometheus.NewDesc("consumer_in_flight", "Records, and parts of some, that are being tried.", nil, nil)
	recordsDesc  = prometheus.NewDesc("consumer_records_total", "What is finished, by result: records that are done, records or parts of some that were skipped or set_aside.", []string{"result"}, nil)
	retriesDesc  = prometheus.NewDesc("consumer_retries_total", "Tries that were refused.", nil, nil)
	oldestDesc   = prometheus.NewDesc("consumer_oldest_unfinished_age_seconds", "Age of the oldest record that was read and is not finished; 0 if there is none, or if its timestamp cannot be right.", nil, nil)
	commitDesc   = prometheus.NewDesc("consumer_commit_errors_total", "Commits of offsets that Kafka refused; they go with the next one.", nil, nil)
	againDesc    = prometheus.NewDesc("consumer_read_again_total", "Times that reading went back to what is committed, because what was finished since may be lost.", nil, nil)
	suspectsDesc = prometheus.NewDesc("consumer_suspects", "Records, or parts of some, that were refused and are to be tried again.", nil, nil)
	lettersDesc  = prometheus.NewDesc("consumer_dead_letters_waiting", "Records, or parts of some, that are to be set aside.", nil, nil)
	failingDesc  = prometheus.NewDesc("consumer_dead_letters_failing", "1 while nothing can be set aside, else 0.", nil, nil)
	errorsDesc   = prometheus.NewDesc("consumer_lasting_errors", "Errors of the Kafka client that last, such as a partition that stalls, or records that cannot be read again.", nil, nil)
	lagDesc      = prometheus.NewDesc("consumer_lag", "Offsets of an assigned partition from its first unfinished record on.", []string{"partition"}, nil)
)

// Metrics exposes what a consumer is doing; status is that of a [Consumer].
func Metrics(status func() Status) prometheus.Collector { return metrics(status) }

type metrics func() Status

// Describe implements prometheus.Collector.
func (m metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{holdingDesc, inFlightDesc, recordsDesc, retriesDesc, oldestDesc, commitDesc, againDesc, suspectsDesc, lettersDesc, failingDesc, errorsDesc, lagDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m metrics) Collect(ch chan<- prometheus.Metric) {
	s := m()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	counter := func(d *prometheus.Desc, value uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
	}
	gauge(holdingDesc, boolean(s.State == dispatch.Holding))
	gauge(suspectsDesc, float64(s.Suspects))
	gauge(lettersDesc, float64(s.DeadLetters))
	gauge(failingDesc, boolean(s.DeadLettersError != nil))
	gauge(errorsDesc, float64(len(s.Errors))+boolean(s.FetchError != nil))
	gauge(inFlightDesc, float64(s.InFlight))
	counter(recordsDesc, s.Counts.Done, "done")
	counter(recordsDesc, s.Counts.Skipped, "skipped")
	counter(recordsDesc, s.Counts.SetAside, "set_aside")
	counter(retriesDesc, s.Counts.Retries)
	counter(commitDesc, s.CommitErrors)
	counter(againDesc, s.ReadAgain)
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

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
