package systemtest

import (
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
	s.start("topic-config")
	s.wait("topic-config")
	s.start("relay")
	s.ready("relay")
	return s, c
}

func (c *fakeCollector) answer(w http.ResponseWriter, p collectortest.Post) {
	if p.Batch == nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, span := range p.Batch.Spans {
		if c.poison != 0 && span.TraceIdLow == c.poison {
			c.refused++
			http.Error(w, "poison", http.StatusBadRequest)
			return
		}
	}
	if p.Batch.Process.ServiceName == "killed" {
		for _, span := range p.Batch.Spans {
			c.taken[span.TraceIdLow]++
		}
	}
	w.WriteHeader(http.StatusAccepted)
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
