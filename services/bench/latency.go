package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"fault-tolerant-tracing/services/internal/scan"
	"fault-tolerant-tracing/tracing/batch"
	"fault-tolerant-tracing/tracing/kafkaclient"
)

const (
	latencyClients = 50
	warmUp         = 5 * time.Second // from the start of the last client; spans that end in it do not count
	latencyFor     = 30 * time.Second
	runOut         = 2 * time.Second // so that no span that counts is flushed early by the end of its client

	latencyTarget = 1500 * time.Millisecond
	shareTarget   = 50 * time.Millisecond
)

// latency measures how long a span takes from its end to the 2xx for the relay,
// and how much of it from the record's timestamp, with many clients at a steady
// rate. It fails if a span is missing.
func (b *bench) latency(ctx context.Context, by program) (table, error) {
	topic, err := b.newTopic(ctx, "spans-latency", partitions)
	if err := errors.Join(err, b.kafka.forget(ctx, relayGroup)); err != nil {
		return nil, err
	}
	collector, at, stop, err := startArrivals()
	if err != nil {
		return nil, err
	}
	defer stop()
	r, err := b.startRelay(by, topic, deadLetter, at)
	if err != nil {
		return nil, err
	}
	defer r.stop()
	if err := r.await(ctx, r.ready); err != nil {
		return nil, err
	}
	clients, err := b.startClients(latencyClients, topic)
	if err != nil {
		return nil, err
	}
	defer clients.stop()
	from := time.Now().Add(warmUp)
	to := from.Add(latencyFor)
	if err := pause(ctx, to.Add(runOut)); err != nil {
		return nil, err
	}
	spans, err := clients.finish()
	if err != nil {
		return nil, err
	}
	if err := r.await(ctx, func(ctx context.Context) error { return r.hasSent(ctx, spans) }); err != nil {
		return nil, err
	}
	stop()
	arrived, err := collector.first()
	if err != nil {
		return nil, err
	}
	d := delays{arrived: arrived, from: from, to: to}
	if err := b.readTopic(ctx, topic, d.record); err != nil {
		return nil, err
	}
	if d.read != spans {
		return nil, fmt.Errorf("the clients finished %d spans, and %d are on the topic", spans, d.read)
	}
	return d.table(by), nil
}

// readTopic calls yield with every record of a topic.
func (b *bench) readTopic(ctx context.Context, name string, yield func(*kafka.Message) error) error {
	topic, err := scan.Open(ctx, kafkaclient.Cluster{Brokers: []string{b.kafka.addr}}, name)
	if err != nil {
		return err
	}
	defer topic.Close()
	all, err := topic.All()
	if err != nil {
		return err
	}
	return topic.Read(ctx, all, yield)
}

// delays are those of the spans that ended between two times.
type delays struct {
	arrived  map[spanID]time.Time
	from, to time.Time

	read  int             // spans on the topic
	whole []time.Duration // from the end of a span
	share []time.Duration // from the timestamp of its record, which counts whole milliseconds
}

// record adds the spans of a record.
func (d *delays) record(m *kafka.Message) error {
	if m.TimestampType != kafka.TimestampCreateTime {
		return fmt.Errorf("the timestamp of a record is %s, not that of its producer", m.TimestampType)
	}
	decoded, err := batch.Decode(m.Value)
	if err != nil {
		return fmt.Errorf("decode a record: %w", err)
	}
	d.read += len(decoded.Spans)
	for _, span := range decoded.Spans {
		at, ok := d.arrived[spanID{trace: span.TraceIdLow, span: span.SpanId}]
		if !ok {
			return fmt.Errorf("span %x of trace %x never arrived", uint64(span.SpanId), uint64(span.TraceIdLow))
		}
		end := time.UnixMicro(span.StartTime + span.Duration)
		if end.Before(d.from) || !end.Before(d.to) {
			continue
		}
		d.whole = append(d.whole, at.Sub(end))
		d.share = append(d.share, at.Sub(m.Timestamp))
	}
	return nil
}

func (d *delays) table(by program) table {
	title := fmt.Sprintf("%d clients of %d spans/s: %d spans in %.0f s", latencyClients, spansPerSecond, len(d.whole), d.to.Sub(d.from).Seconds())
	cells := func(label string, all []time.Duration, target time.Duration) []string {
		slices.Sort(all)
		return []string{label, millis(quantile(all, 50)), millis(quantile(all, 99)), millis(quantile(all, 100)), "p99 ≤ " + millis(target)}
	}
	return table{
		{title, "p50, ms", "p99, ms", "max, ms", "target, ms"},
		cells("from the end of the span to 2xx"+by.note, d.whole, latencyTarget),
		cells("of it the relay"+by.note+", from the record's timestamp", d.share, shareTarget),
	}
}

// quantile returns the smallest value that so many per cent of the sorted ones do
// not exceed; 0 if there are none.
func quantile(sorted []time.Duration, percent int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(0, (len(sorted)*percent+99)/100-1)]
}

// millis shows a duration in milliseconds.
func millis(d time.Duration) string { return fmt.Sprintf("%.0f", float64(d)/float64(time.Millisecond)) }
