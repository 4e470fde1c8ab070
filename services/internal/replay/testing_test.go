package replay

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/uber/jaeger-client-go/thrift-gen/jaeger"

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

// fakeCollector answers as a test tells it to and keeps what it took.
type fakeCollector struct {
	*httptest.Server
	answer func(service string, operations []string) int

	mu    sync.Mutex
	taken map[string]int // by operation
	posts int
}

func startCollector(t *testing.T, answer func(service string, operations []string) int) *fakeCollector {
	c := &fakeCollector{answer: answer, taken: map[string]int{}}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *fakeCollector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var service string
	var operations []string
	if b, err := batch.Decode(body); err == nil {
		service = b.Process.ServiceName
		for _, s := range b.Spans {
			operations = append(operations, s.OperationName)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.posts++
	status := http.StatusNotFound
	if r.URL.Path == "/api/traces" {
		status = c.answer(service, operations)
	}
	if status == hangUp {
		panic(http.ErrAbortHandler)
	}
	if status/100 == 2 {
		for _, operation := range operations {
			c.taken[operation]++
		}
	}
	w.WriteHeader(status)
}

const hangUp = 0 // instead of a status

func (c *fakeCollector) posted() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.posts
}

// sender returns one to the collector that keeps what made it wait.
func (c *fakeCollector) sender(t *testing.T) *Sender {
	t.Helper()
	return newSender(t, c.URL+"/api/traces")
}

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
