package replay

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fault-tolerant-tracing/services/internal/collector"
	"fault-tolerant-tracing/tracing/tracingtest"
)

func TestWrongAddressesAreOneSentence(t *testing.T) {
	server := startCollector(t, func(string, []string) int { return 202 })
	value := newBatch(t, "one", TraceID{0, 1})

	wrong := strings.TrimSuffix(server.URL(), "/traces")
	_, err := newSender(t, wrong).Send(t.Context(), value)
	assert.EqualError(t, err, wrong+"?format=jaeger.thrift is not Jaeger's collector, such as http://localhost:14268/api/traces: jaeger answered 404 Not Found")

	addr := tracingtest.FreeAddr(t)
	begin := time.Now()
	_, err = newSender(t, "http://"+addr).Send(t.Context(), value)
	assert.EqualError(t, err, "jaeger at http://"+addr+"?format=jaeger.thrift cannot be reached: dial tcp "+addr+": connect: connection refused")
	assert.InDelta(t, reachable.Seconds(), time.Since(begin).Seconds(), 5)
}

func TestAnUnknownHostIsNotWaitedFor(t *testing.T) {
	s := newSender(t, "http://jaeger.invalid/api/traces")
	unknown := fmt.Errorf("post: %w", &net.DNSError{Err: "no such host", Name: "jaeger.invalid", IsNotFound: true})
	assert.True(t, s.neverThere(unknown, 0))
	assert.False(t, s.neverThere(errors.New("connection refused"), 0))
	s.answered.Store(true)
	assert.False(t, s.neverThere(unknown, time.Hour), "a Jaeger that was there comes back")
}

func TestOnly500MayBelongToTheRecord(t *testing.T) {
	answer := &collector.Refusal{Status: 500}
	s := &Sender{}
	assert.NoError(t, s.judge(answer, false))
	assert.ErrorIs(t, s.judge(answer, true), answer)
	for _, status := range []int{408, 429, 501, 503} {
		assert.NoError(t, s.judge(&collector.Refusal{Status: status}, true))
	}
}

func TestARecordThatJaegerCannotStoreIsGivenUp(t *testing.T) {
	var tries atomic.Int64
	server := startCollector(t, func(service string, _ []string) int {
		if service == "bad" {
			tries.Add(1)
			return 500
		}
		return 202
	})
	s := newSender(t, server.URL())
	done := make(chan []Refused, 1)
	go func() {
		refused, err := s.Send(t.Context(), newBatch(t, "bad", TraceID{0, 1}))
		assert.NoError(t, err)
		done <- refused
	}()
	require.Eventually(t, func() bool { return tries.Load() > 0 }, 30*time.Second, time.Millisecond)
	_, err := s.Send(t.Context(), newBatch(t, "good", TraceID{0, 1}))
	require.NoError(t, err)
	refused := <-done
	require.Len(t, refused, 1)
	assert.Equal(t, 500, refused[0].Reason.Status)
	assert.EqualValues(t, maxTries, tries.Load())
}
