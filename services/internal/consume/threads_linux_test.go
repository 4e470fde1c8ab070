package consume

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fault-tolerant-tracing/services/internal/dispatch"
	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/tracingtest/threads"
)

// librdkafka's first two threads are for the group's coordinator, without which it ends the process, and its own, without which it makes
// no consumer.
const (
	internalThread = 2 + iota
	givenThread    // to the broker it is given
	toldThread     // to the broker that this one tells of
)

func TestTheReaderIsMadeAnewWhenAThreadCouldNotBeStarted(t *testing.T) {
	for after := internalThread; after <= toldThread; after++ {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			r, _, _ := startReader(t)
			r.cfg.Log = slog.New(slog.DiscardHandler)
			threads.RefuseOne(t, after)
			_, err := r.fetch(t.Context(), 0, []int64{5})
			require.ErrorContains(t, err, "thread")
			assert.True(t, threads.Refused())
			assertReads(t, r, 0, []int64{5}, 5)
		})
	}
}

// The process may have more memory in its next life.
func TestAMemberEndsWhenAThreadCouldNotBeStarted(t *testing.T) {
	broker, _ := startTopic(t)
	threads.RefuseOne(t, givenThread)
	c, err := New(Config{
		Cluster: kafkaclient.Cluster{Brokers: []string{broker.Addr()}}, Group: testGroup, Topic: testTopic, SessionTimeout: time.Minute,
		Dispatch: dispatch.Config{InFlight: 1, MaxPieces: 1, MaxBytes: 1}, Log: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience) // Run returns nil then
	defer cancel()
	require.ErrorContains(t, c.Run(ctx), "thread")
	assert.True(t, threads.Refused())
	require.NoError(t, c.kafka.Load().Close()) // where the process does not end
}
