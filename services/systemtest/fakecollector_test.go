package systemtest

import (
	"encoding/binary"
	"fault-tolerant-tracing/services/internal/collectortest"
	"net/http"
	"slices"
	"sync"
	"testing"
)

// fakeCollector takes batches in Jaeger's place. It refuses those that have spans
// of one trace.
type fakeCollector struct {
	mu      sync.Mutex
	poison  int64 // 0: takes all
	refused int
	taken   map[int64]int // spans by trace, of the service that newBatch names
}

// newFakedSystem is a real Kafka and a relay that delivers to a fake collector.
func newFakedSystem(t *testing.T, poison int64) (*system, *fakeCollector) {
	t.Helper()
	c := &fakeCollector{poison: poison, taken: map[int64]int{}}
	k := startKafka(t, 1, nil)
	s := newSystemFor(t, k, k, collectortest.Start(t, c.answer).URL(), kafkaPatience)
	s.startRelay()
	return s, c
}

func (c *fakeCollector) answer(w http.ResponseWriter, p collectortest.Post) {
	if p.Services == nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, span := range p.Spans {
		if c.poison != 0 && traceOf(span) == c.poison {
			c.refused++
			http.Error(w, "poison", http.StatusBadRequest)
			return
		}
	}
	for _, span := range p.Spans {
		if span.Service == "killed" {
			c.taken[traceOf(span)]++
		}
	}
	w.WriteHeader(http.StatusAccepted)
}

// traceOf returns the lower half of a trace's id.
func traceOf(span collectortest.Span) int64 {
	id := span.TraceID()
	return int64(binary.BigEndian.Uint64(id[8:]))
}

func (c *fakeCollector) takeAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.poison = 0
}

func (c *fakeCollector) refusals() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refused
}

// times returns how often the batch of a trace was taken.
func (c *fakeCollector) times(trace int64) int { return c.spans(trace) / spansPerBatch }

// spans returns how many spans of a trace were taken.
func (c *fakeCollector) spans(trace int64) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.taken[trace]
}

// forget returns the traces of which a batch was taken, in order, and begins anew.
func (c *fakeCollector) forget() (traces []int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for trace := range c.taken {
		traces = append(traces, trace)
	}
	slices.Sort(traces)
	clear(c.taken)
	return traces
}
