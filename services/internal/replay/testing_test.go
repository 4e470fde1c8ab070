package replay

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/uber/jaeger-client-go/thrift-gen/jaeger"

	"fault-tolerant-tracing/services/internal/collectortest"
	"fault-tolerant-tracing/tracing/batch"
	"fault-tolerant-tracing/tracing/tracingtest"
)

func TestMain(m *testing.M) { tracingtest.VerifyMain(m) }

// newBatch encodes a batch of a service with one span per trace, named alike.
func newBatch(t testing.TB, service string, traces ...TraceID) []byte {
	t.Helper()
	process, err := batch.EncodeProcess(&jaeger.Process{ServiceName: service})
	require.NoError(t, err)
	var spans []byte
	for i, id := range traces {
		spans, err = batch.AppendSpan(spans, &jaeger.Span{
			TraceIdHigh: id.High, TraceIdLow: id.Low, SpanId: int64(i + 1), OperationName: name(service, id), StartTime: 1, Duration: 1, Flags: 1,
		})
		require.NoError(t, err)
	}
	return batch.Encode(process, spans, len(traces), 1, batch.Stats{})
}

func name(service string, id TraceID) string {
	return fmt.Sprintf("%s-%d-%d", service, id.High, id.Low)
}

// startCollector starts one whose answer is a status, or hangUp. It is asked for
// one post at a time.
func startCollector(t *testing.T, answer func(service string, operations []string) int) *collectortest.Collector {
	var mu sync.Mutex
	return collectortest.Start(t, func(w http.ResponseWriter, p collectortest.Post) {
		service := ""
		if p.Batch != nil {
			service = p.Batch.Process.ServiceName
		}
		mu.Lock()
		status := answer(service, p.Operations)
		mu.Unlock()
		if status == hangUp {
			collectortest.HangUp(w, p)
		}
		w.WriteHeader(status)
	})
}

const hangUp = 0 // instead of a status

// newSender returns one to a collector.
func newSender(t *testing.T, address string) *Sender {
	t.Helper()
	endpoint, err := url.Parse(address)
	require.NoError(t, err)
	s := NewSender(*endpoint, func(error) {})
	t.Cleanup(s.Close)
	return s
}

// records is a source in memory.
type records []Record

func (r records) Total(context.Context) (int64, error) { return int64(len(r)), nil }

func (r records) Read(_ context.Context, yield func(Record) error) error {
	for _, record := range r {
		if err := yield(record); err != nil {
			return err
		}
	}
	return nil
}

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// recordsOf returns one record for each value, one a minute from noon on.
func recordsOf(values ...[]byte) records {
	var all records
	for i, value := range values {
		all = append(all, Record{Offset: int64(i), Time: noon.Add(time.Duration(i) * time.Minute), Value: value})
	}
	return all
}

// doneCounter checks that each record is told to be finished once.
type doneCounter struct {
	mu    sync.Mutex
	total int64
}

func (d *doneCounter) done(n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.total += n
}

func (d *doneCounter) check(t *testing.T, want int) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	assert.EqualValues(t, want, d.total)
}
