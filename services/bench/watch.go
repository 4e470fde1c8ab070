package main

import (
	"context"
	"fmt"
	"time"
)

const (
	every     = 50 * time.Millisecond
	longest   = 15 * time.Second // a measurement; what is on its way then counts up to here
	firstSpan = time.Minute      // to wait for
	stalled   = 15 * time.Second // without a span
)

// result is one measurement.
type result struct {
	spans int
	took  time.Duration // in which they were carried
	cpu   costs         // meanwhile
	peak  uint64        // resident memory of the relay that used most, in bytes
}

// rate is the number of spans per second.
func (r result) rate() float64 { return float64(r.spans) / r.took.Seconds() }

// perMillion is what a million spans cost, in seconds of CPU.
func (r result) perMillion(cost time.Duration) float64 {
	return cost.Seconds() / float64(r.spans) * 1e6
}

// others is how many cores other processes kept busy meanwhile, this one's own
// looks included: with much of that a rate says little.
func (r result) others() float64 {
	return max(0, r.cpu.machine-r.cpu.sender-r.cpu.collector-r.cpu.kafka).Seconds() / r.took.Seconds()
}

// costs is the CPU time of those who have a part in a measurement (the client or
// the relays, Jaeger or the sink, and the broker), and of the whole machine.
type costs struct{ sender, collector, kafka, machine time.Duration }

func (c costs) minus(before costs) costs {
	return costs{c.sender - before.sender, c.collector - before.collector, c.kafka - before.kafka, c.machine - before.machine}
}

// parts are the processes of a measurement.
type parts struct {
	senders   []*child
	collector *child
	kafka     *child
}

func (p parts) cpu() costs {
	c := costs{collector: p.collector.cpu(), kafka: p.kafka.cpu(), machine: busy()}
	for _, s := range p.senders {
		c.sender += s.cpu()
	}
	return c
}

// check returns an error if one of them has ended.
func (p parts) check() error {
	for _, c := range append([]*child{p.collector, p.kafka}, p.senders...) {
		if err := c.check(); err != nil {
			return err
		}
	}
	return nil
}

// watch follows a count of spans from the first one, when it calls begun, until
// it has reached total or the longest time has passed. Only what is counted from
// the first look that saw a span to the last is the result: neither the wait for
// the group nor the time between two looks is part of it.
func (p parts) watch(ctx context.Context, total int, count func(context.Context) (int, error), begun func()) (result, error) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	start := time.Now()
	var first, last observation
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return result{}, ctx.Err()
		}
		if err := p.check(); err != nil {
			return result{}, err
		}
		n, err := count(ctx)
		if err != nil {
			return result{}, err
		}
		now := time.Now()
		switch {
		case n == last.spans && first.spans == 0 && now.Sub(start) > firstSpan:
			return result{}, fmt.Errorf("no span after %s", firstSpan)
		case n == last.spans && first.spans > 0 && now.Sub(last.at) > stalled:
			return result{}, fmt.Errorf("no further span for %s, %d of %d are there", stalled, n, total)
		case n == last.spans:
			continue
		}
		last = observation{at: now, spans: n, cpu: p.cpu()}
		if first.spans == 0 {
			first = last
			begun()
		}
		if n >= total || now.Sub(first.at) > longest {
			return result{spans: last.spans - first.spans, took: last.at.Sub(first.at), cpu: last.cpu.minus(first.cpu)}, nil
		}
	}
}

// observation is one look at a count.
type observation struct {
	at    time.Time
	spans int
	cpu   costs
}
