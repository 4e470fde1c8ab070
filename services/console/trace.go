package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"fault-tolerant-tracing/services/internal/scan"
	"fault-tolerant-tracing/tracing/otlp"
)

// searched is how far back the topic is read for a trace.
const searched = time.Hour

// span is one of a trace, as it is shown: its times are shares of the whole trace, in thousandths.
type span struct {
	Service, Name string
	Depth         int
	Began, Took   int
	Duration      time.Duration
	Error         bool

	id, parent string
	start, end time.Time
}

// readTrace returns the spans on the topic that belong to a trace, whose id is hexadecimal without leading zeros, parents before
// children.
func (p page) readTrace(ctx context.Context, id string) ([]span, error) {
	topic, err := scan.Open(ctx, p.cfg.TracingKafka.Cluster(), p.cfg.TracingTopic)
	if err != nil {
		return nil, err
	}
	defer topic.Close()
	ranges, err := topic.Between(time.Now().Add(-searched), time.Time{})
	if err != nil {
		return nil, err
	}
	var found []span
	err = topic.Read(ctx, ranges, func(m *kafka.Message) error {
		parsed, err := p.cfg.Format.Parse(m.Value)
		if err != nil {
			return nil //nolint:nilerr // the relay sets it aside
		}
		value, spans := parsed.Select(func(_ string, trace otlp.TraceID) bool { return strings.TrimLeft(fmt.Sprintf("%x", trace), "0") == id })
		if spans == 0 {
			return nil
		}
		chosen, err := p.cfg.Format.Parse(value)
		if err != nil {
			return err
		}
		traces, err := chosen.Decode()
		if err == nil {
			found = append(found, spansOf(traces)...)
		}
		return err
	})
	if errors.Is(err, context.DeadlineExceeded) {
		err = errors.New("there is more on the topic than could be read in time: spans may be missing here")
	}
	return arrange(found), err
}

func spansOf(traces ptrace.Traces) (list []span) {
	for _, resource := range traces.ResourceSpans().All() {
		service, _ := resource.Resource().Attributes().Get("service.name")
		for _, scope := range resource.ScopeSpans().All() {
			for _, s := range scope.Spans().All() {
				list = append(list, span{
					Service: plain(service.AsString()), Name: plain(s.Name()), id: s.SpanID().String(), parent: s.ParentSpanID().String(),
					start: s.StartTimestamp().AsTime(), end: s.EndTimestamp().AsTime(), Error: s.Status().Code() == ptrace.StatusCodeError,
				})
			}
		}
	}
	return list
}

// arrange puts spans in the order of a tree, each once, and places them on a scale.
func arrange(spans []span) (list []span) {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Or(a.start.Compare(b.start), cmp.Compare(a.id, b.id)) })
	spans = slices.CompactFunc(spans, func(a, b span) bool { return a.id == b.id })
	known, children := map[string]bool{}, map[string][]span{}
	var began, ended time.Time
	for _, s := range spans {
		known[s.id] = true
		if began.IsZero() || s.start.Before(began) {
			began = s.start
		}
		if s.end.After(ended) {
			ended = s.end
		}
	}
	for _, s := range spans {
		if !known[s.parent] {
			s.parent = ""
		}
		children[s.parent] = append(children[s.parent], s)
	}
	whole := max(ended.Sub(began), time.Microsecond)
	share := func(d time.Duration) int { return int(1000 * d / whole) }
	var add func(parent string, depth int)
	add = func(parent string, depth int) {
		for _, s := range children[parent] {
			s.Depth, s.Duration = depth, s.end.Sub(s.start)
			s.Began, s.Took = share(s.start.Sub(began)), max(share(s.Duration), 4)
			list = append(list, s)
			if children[s.id] != nil && depth < 100 { // a span that is its own ancestor has no root: it is not shown
				add(s.id, depth+1)
			}
		}
	}
	add("", 0)
	return list
}
