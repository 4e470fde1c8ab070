package replay

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/uber/jaeger-client-go/thrift-gen/jaeger"

	"fault-tolerant-tracing/services/internal/collector"
	"fault-tolerant-tracing/services/internal/deliver"
	"fault-tolerant-tracing/tracing/batch"
	"fault-tolerant-tracing/tracing/otlp"
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
		high, low := halves(id)
		spans, err = batch.AppendSpan(spans, &jaeger.Span{
			TraceIdHigh: high, TraceIdLow: low, SpanId: int64(i + 1), OperationName: name(service, id), StartTime: 1, Duration: 1, Flags: 1,
		})
		require.NoError(t, err)
	}
	return batch.Encode(process, spans, len(traces), 1, batch.Stats{})
}

func name(service string, id TraceID) string {
	high, low := halves(id)
	return fmt.Sprintf("%s-%d-%d", service, high, low)
}

func halves(id TraceID) (high, low int64) {
	return int64(binary.BigEndian.Uint64(id[:8])), int64(binary.BigEndian.Uint64(id[8:]))
}

// fakeJaeger answers at once, as a test tells it to, and keeps what it took.
type fakeJaeger struct {
	answer func(services, operations []string) int

	mu    sync.Mutex
	taken map[string]int // by operation
	posts int
}

// Instead of a status.
const (
	hangUp  = -1 // closes the connection
	silence = -2 // never answers
	away    = -3 // refuses the connection
)

func newJaeger(answer func(services, operations []string) int) *fakeJaeger {
	return &fakeJaeger{answer: answer, taken: map[string]int{}}
}

func (j *fakeJaeger) endpoint() deliver.Endpoint { return deliver.Endpoint{Poster: j} }

func (j *fakeJaeger) URL() string { return "http://jaeger/v1/traces" }

func (j *fakeJaeger) Post(ctx context.Context, body []byte) error {
	request, err := otlp.Decode(body)
	if err != nil {
		panic("what holds no spans must never be posted")
	}
	var services, operations []string
	for _, r := range request.ResourceSpans {
		services = append(services, r.Resource.Attributes[0].Value.GetStringValue())
		for _, scope := range r.ScopeSpans {
			for _, s := range scope.Spans {
				operations = append(operations, s.Name)
			}
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.posts++
	switch status := j.answer(services, operations); status {
	case 202:
		for _, operation := range operations {
			j.taken[operation]++
		}
		return nil
	case hangUp:
		return fmt.Errorf("post to jaeger: %w", io.EOF)
	case away:
		return fmt.Errorf("post to jaeger: %w", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED})
	case silence:
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		j.mu.Unlock()
		<-ctx.Done()
		j.mu.Lock()
		return fmt.Errorf("post to jaeger: %w", ctx.Err())
	default:
		return &collector.Refusal{Status: status}
	}
}

func (j *fakeJaeger) posted() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.posts
}

// fakeMeter counts.
type fakeMeter struct {
	mu      sync.Mutex
	records int64
	waiting error             // the last reason
	added   func(total int64) // nil: nothing more happens
}

func (m *fakeMeter) Add(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records += n
	if m.added != nil {
		m.added(m.records)
	}
}

func (m *fakeMeter) Waiting(reason error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waiting = reason
}

// patience is how long a run may take, Jaeger's longest absence included.
const patience = 15 * time.Minute

// send runs a replay of everything.
func (j *fakeJaeger) send(t *testing.T, source records) (Result, error) {
	t.Helper()
	return j.sendSome(t, source, Filter{})
}

func (j *fakeJaeger) sendSome(t *testing.T, source records, filter Filter) (Result, error) {
	t.Helper()
	var shown fakeMeter
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	result, err := Run(ctx, source, Config{Endpoint: j.endpoint(), Filter: filter, Meter: &shown, Read: deliver.Endpoint{}.Read})
	if err == nil {
		assert.EqualValues(t, len(source), shown.records, "each record is counted once")
	}
	return result, err
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
