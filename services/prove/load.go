package main

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// perSecond is how many numbers flow, and how many traces of each client.
const perSecond = 10

// feed lets numbers flow until stop is called, which may be called again, or ctx ends. What Kafka has not taken then is not counted: it is on no topic.
func (p *proof) feed(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		client, err := newWriter(p.brokers())
		if err != nil {
			return // there is nothing to be wrong: the brokers are those of this run
		}
		defer client.Close()
		tick := time.NewTicker(time.Second / perSecond)
		defer tick.Stop()
		for n := 1; ; n++ {
			select {
			case <-tick.C:
				client.TryProduce(ctx, &kgo.Record{Topic: "number-topic", Value: strconv.AppendInt(nil, int64(n), 10)}, nil)
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		running.Wait()
	}
}

// newWriter writes records as Kafka Connect's file source does: no key, all partitions in turn. New ones it knows within a second.
func newWriter(brokers []string, more ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append(more, kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()),
		kgo.MetadataMinAge(100*time.Millisecond), kgo.MetadataMaxAge(time.Second), kgo.AlwaysRetryEOF())...)
}
