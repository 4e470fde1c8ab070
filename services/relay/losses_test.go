package main

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fault-tolerant-tracing/services/internal/collectortest"
	"fault-tolerant-tracing/services/internal/ledger"
	"fault-tolerant-tracing/tracing"
	"fault-tolerant-tracing/tracing/kafkaclient"
)

// What a client drops shows at the relay; a relay that starts later does not
// take for a loss what it cannot know.
func TestTheLedgerShowsWhatAClientHasDropped(t *testing.T) {
	t.Parallel()
	collector := collectortest.Start(t, collectortest.Status(202))
	r := startRelay(t, collector.URL())
	tracer, closeTracer, err := tracing.New(tracing.Config{
		Service: "client", Kafka: kafkaclient.Cluster{Brokers: []string{r.broker.Addr()}}, Topic: topic,
		QueueSize: 1, FlushInterval: 10 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	closed := false
	end := func() {
		if !closed {
			closed = true
			require.NoError(t, closeTracer(context.Background()))
		}
	}
	t.Cleanup(end)
	span := func() { tracer.StartSpan("x").Finish() }

	dropped := func() ledger.Status { return r.ledgerStatus() }
	r.eventually("drops are shown", func() bool {
		for range 1000 {
			span()
		}
		return collector.Posts() > 0 && dropped().SpansDropped.FullQueue > 0
	})
	s := dropped()
	require.Len(t, s.Losses, 1)
	assert.Equal(t, "client", s.Losses[0].Service)
	assert.EqualValues(t, 1, s.Losses[0].KnownFrom)
	assert.Zero(t, s.BatchesMissing)
	assert.Equal(t, 1, s.Clients.Known)

	require.NoError(t, r.stop())
	before := collector.Posts()
	r.start(collector.URL())
	r.eventually("the next relay delivers", func() bool { span(); return collector.Posts() > before })
	r.eventually("it has seen the client", func() bool { return dropped().Clients.Unknown == 1 })
	s = dropped()
	assert.Zero(t, s.BatchesMissing)
	assert.Zero(t, s.BatchesUnconfirmed)
	assert.Zero(t, s.BatchesDuplicated)
	end()
}
