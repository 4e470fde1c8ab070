package ledger

import (
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// maxListed is how many clients are listed one by one in /status.
const maxListed = 100

// Status is what a ledger knows at one moment.
type Status struct {
	Totals
	Clients struct {
		Known   int `json:"known"`   // from their first batch on
		Unknown int `json:"unknown"` // before some later batch
	} `json:"clients"`
	Losses []ClientStatus `json:"losses"` // of the clients that have any, the latest first; at most 100
}

// Totals counts over all clients since the ledger was made, those that
// the ledger has forgotten included.
type Totals struct {
	BatchesMissing     int64        `json:"batches_missing"`     // now: they may still come
	BatchesUnconfirmed int64        `json:"batches_unconfirmed"` // missing when their client was last known without a break
	BatchesDuplicated  int64        `json:"batches_duplicated"`
	SpansDropped       DroppedSpans `json:"spans_dropped"`
	RecordsOutside     int64        `json:"records_outside"` // without key or number
}

// DroppedSpans counts the spans that clients say they have dropped, by reason.
type DroppedSpans struct {
	FullQueue    int64 `json:"full_queue"`     // the reporter's queue was full
	TooLarge     int64 `json:"too_large"`      // too large for a record
	FailedToEmit int64 `json:"failed_to_emit"` // Kafka was away and the buffer full, or Kafka refused them
}

// Total is their sum.
func (d DroppedSpans) Total() int64 { return d.FullQueue + d.TooLarge + d.FailedToEmit }

func (d *DroppedSpans) add(more DroppedSpans) {
	d.FullQueue += more.FullQueue
	d.TooLarge += more.TooLarge
	d.FailedToEmit += more.FailedToEmit
}

// ClientStatus is one client with losses.
type ClientStatus struct {
	Client      string       `json:"client"` // its client-uuid
	Service     string       `json:"service"`
	Host        string       `json:"host,omitempty"`
	Partition   int32        `json:"partition"`
	LastSeqNo   int64        `json:"last_seq_no"`
	KnownSince  time.Time    `json:"known_since"`
	KnownFrom   int64        `json:"known_from"` // the number of the first batch known; 1: all are
	LastLoss    time.Time    `json:"last_loss"`
	Missing     []Gap        `json:"missing"`
	Unconfirmed int64        `json:"unconfirmed"`
	Duplicated  int64        `json:"duplicated"`
	Dropped     DroppedSpans `json:"dropped"` // spans, while it was known
	Says        DroppedSpans `json:"says"`    // spans, since its start, as it says itself
}

// Status may be called by any goroutine.
func (l *Ledger) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Status{Totals: l.totals, Losses: []ClientStatus{}}
	var lossy []*client
	for _, c := range l.clients.Values() {
		if c.fromStart() && c.epoch == l.partitions[c.partition].epoch {
			s.Clients.Known++
		} else {
			s.Clients.Unknown++
		}
		if c.any() {
			lossy = append(lossy, c)
		}
	}
	slices.SortFunc(lossy, func(a, b *client) int { return b.lastLoss.Compare(a.lastLoss) })
	for _, c := range lossy[:min(len(lossy), maxListed)] {
		s.Losses = append(s.Losses, c.status())
	}
	return s
}

func (c *client) status() ClientStatus {
	return ClientStatus{
		Client: strings.ToValidUTF8(c.uuid, "\uFFFD"), Service: c.service, Host: c.host, Partition: c.partition,
		LastSeqNo: c.last, KnownSince: c.began, KnownFrom: c.since, LastLoss: c.lastLoss,
		Missing: append([]Gap{}, c.gaps...), Unconfirmed: c.losses.unconfirmed,
		Duplicated: c.losses.duplicated, Dropped: c.losses.dropped,
		Says: DroppedSpans(c.says),
	}
}

var (
	missingDesc     = prometheus.NewDesc("relay_ledger_batches_missing", "Batches that have not arrived, by the numbers of those that have. They may still come.", nil, nil)
	unconfirmedDesc = prometheus.NewDesc("relay_ledger_batches_unconfirmed_total", "Batches that were missing when the relay last knew all of their client's batches.", nil, nil)
	duplicatedDesc  = prometheus.NewDesc("relay_ledger_batches_duplicated_total", "Batches that came twice.", nil, nil)
	droppedDesc     = prometheus.NewDesc("relay_ledger_spans_dropped_total", "Spans that clients say they have dropped, by reason: full_queue, too_large or failed_to_emit.", []string{"reason"}, nil)
	outsideDesc     = prometheus.NewDesc("relay_ledger_records_outside_total", "Records of which the ledger knows nothing, as they have no key or no number.", nil, nil)
	clientsDesc     = prometheus.NewDesc("relay_ledger_clients", "Client processes that the ledger remembers, by knowledge: known from their first batch on, or unknown before a later one.", []string{"knowledge"}, nil)
)

// Describe implements prometheus.Collector.
func (l *Ledger) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{missingDesc, unconfirmedDesc, duplicatedDesc, droppedDesc, outsideDesc, clientsDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (l *Ledger) Collect(ch chan<- prometheus.Metric) {
	s := l.Status()
	gauge := func(d *prometheus.Desc, value int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value), labels...)
	}
	counter := func(d *prometheus.Desc, value int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
	}
	gauge(missingDesc, s.BatchesMissing)
	counter(unconfirmedDesc, s.BatchesUnconfirmed)
	counter(duplicatedDesc, s.BatchesDuplicated)
	counter(droppedDesc, s.SpansDropped.FullQueue, "full_queue")
	counter(droppedDesc, s.SpansDropped.TooLarge, "too_large")
	counter(droppedDesc, s.SpansDropped.FailedToEmit, "failed_to_emit")
	counter(outsideDesc, s.RecordsOutside)
	gauge(clientsDesc, int64(s.Clients.Known), "known")
	gauge(clientsDesc, int64(s.Clients.Unknown), "unknown")
}
