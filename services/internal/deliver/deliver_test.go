package deliver

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/uber/jaeger-client-go/thrift-gen/jaeger"

	"fault-tolerant-tracing/services/internal/collector"
	"fault-tolerant-tracing/services/internal/dispatch"
	"fault-tolerant-tracing/services/internal/payload"
	"fault-tolerant-tracing/tracing/batch"
)

// newBatch encodes a batch with one span per operation.
func newBatch(t *testing.T, service string, operations ...string) []byte {
	t.Helper()
	process, err := batch.EncodeProcess(&jaeger.Process{ServiceName: service})
	require.NoError(t, err)
	var spans []byte
	for _, operation := range operations {
		spans, err = batch.AppendSpan(spans, &jaeger.Span{OperationName: operation})
		require.NoError(t, err)
	}
	return batch.Encode(process, spans, len(operations), 7, batch.Stats{})
}

// otlpEndpoint takes OTLP.
var otlpEndpoint = Endpoint{}

// read makes a record of a value, as the dispatcher has it once it is read.
func read(t *testing.T, value []byte) *dispatch.Record {
	t.Helper()
	r := &dispatch.Record{Message: &kafka.Message{Value: value}}
	require.NoError(t, otlpEndpoint.Read(r))
	return r
}

// spansOf returns the services of a request or a batch, and the operations of its spans.
func spansOf(t *testing.T, value []byte) (services, operations []string) {
	t.Helper()
	held, err := payload.Parse(value)
	require.NoError(t, err)
	traces, err := held.Decode()
	require.NoError(t, err)
	for _, r := range traces.ResourceSpans().All() {
		name, _ := r.Resource().Attributes().Get("service.name")
		services = append(services, name.AsString())
		for _, scope := range r.ScopeSpans().All() {
			for _, s := range scope.Spans().All() {
				operations = append(operations, s.Name())
			}
		}
	}
	return services, operations
}

func TestReadTellsWhatARecordHolds(t *testing.T) {
	request, err := payload.Parse(newBatch(t, "one", "a", "b"))
	require.NoError(t, err)
	for _, tt := range []struct {
		name  string
		value []byte
		want  int
	}{
		{"jaeger.thrift", newBatch(t, "one", "a", "b", "c"), 3},
		{"without spans it carries stats", newBatch(t, "one"), 0},
		{"OTLP", request.AppendOTLP(nil, 0, 2), 2},
	} {
		t.Run(tt.name, func(t *testing.T) { assert.Equal(t, tt.want, read(t, tt.value).Pieces) })
	}
}

func TestWhatHoldsNoSpansIsNeverPosted(t *testing.T) {
	valid := newBatch(t, "one", "a", "b")
	for _, tt := range []struct {
		name  string
		value []byte
		skip  bool
	}{
		{"null", nil, true},
		{"empty", []byte{}, true},
		{"garbage", []byte("garbage"), false},
		{"half a batch", valid[:len(valid)/2], false},
		{"two batches", slices.Concat(valid, valid), false},
		{"other JSON", []byte(`{"resourceSpans": 3}`), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &dispatch.Record{Message: &kafka.Message{Value: tt.value}}
			err := otlpEndpoint.Read(r)
			if tt.skip {
				assert.Equal(t, dispatch.ErrSkip, err)
				return
			}
			assert.True(t, dispatch.IsPermanent(err), "%v", err)
			assert.Equal(t, tt.value, otlpEndpoint.Value(dispatch.Part{Record: r, To: 1}), "all of it is set aside")
			assert.Zero(t, otlpEndpoint.SpansOf(r))
		})
	}
}

func TestABodyHoldsTheSpansOfItsParts(t *testing.T) {
	names := []string{"a", "b", "c", "d"}
	for _, tt := range []struct {
		name     string
		from, to int
		dropped  bool // the value was, and is read again
	}{
		{"the whole", 0, 4, false},
		{"the first half", 0, 2, false},
		{"the second half", 2, 4, false},
		{"one span", 3, 4, false},
		{"of a value that was dropped meanwhile", 1, 3, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := read(t, newBatch(t, "one", names...))
			if tt.dropped {
				r.State = nil
			}
			body, n, err := otlpEndpoint.Body([]dispatch.Part{{Record: r, From: tt.from, To: tt.to}})
			require.NoError(t, err)
			services, got := spansOf(t, body)
			assert.Equal(t, []string{"one"}, services)
			assert.Equal(t, names[tt.from:tt.to], got)
			assert.Equal(t, tt.to-tt.from, n)
		})
	}
}

func TestRecordsOfAllProcessesAndFormatsAreOneBody(t *testing.T) {
	one, two := read(t, newBatch(t, "one", "a", "b")), read(t, newBatch(t, "two", "c", "d"))
	other, err := payload.Parse(newBatch(t, "three", "e"))
	require.NoError(t, err)
	three := read(t, other.AppendOTLP(nil, 0, 1))
	two.State = nil // as after its value was dropped
	body, n, err := otlpEndpoint.Body([]dispatch.Part{{Record: one, To: 2}, {Record: two, From: 1, To: 2}, {Record: three, To: 1}})
	require.NoError(t, err)
	services, got := spansOf(t, body)
	assert.Equal(t, []string{"one", "two", "three"}, services)
	assert.Equal(t, []string{"a", "b", "d", "e"}, got)
	assert.Equal(t, 4, n)
}

// The article's way: each record as it is.
func TestJaegersOwnEndpointGetsThriftAsItIs(t *testing.T) {
	e := Endpoint{Thrift: true}
	assert.Equal(t, 1, e.Bounds().MaxRecords)
	assert.Zero(t, otlpEndpoint.Bounds().MaxRecords)
	value := newBatch(t, "one", "a", "b")
	body, n, err := e.Body([]dispatch.Part{{Record: read(t, value), To: 2}})
	require.NoError(t, err)
	assert.Equal(t, value, body)
	assert.Equal(t, 2, n)
	stats := newBatch(t, "one")
	body, n, err = e.Body([]dispatch.Part{{Record: read(t, stats), To: 1}})
	require.NoError(t, err)
	assert.Equal(t, stats, body)
	assert.Zero(t, n, "a batch without spans has one piece and no span")
	body, _, err = e.Body([]dispatch.Part{{Record: read(t, value), From: 1, To: 2}})
	require.NoError(t, err)
	_, got := spansOf(t, body)
	assert.Equal(t, []string{"b"}, got)

	held, err := payload.Parse(value)
	require.NoError(t, err)
	_, _, err = e.Body([]dispatch.Part{{Record: read(t, held.AppendOTLP(nil, 0, 2)), To: 2}})
	assert.ErrorContains(t, err, "set OTEL_EXPORTER_OTLP_ENDPOINT")
}

// refusedConnection is the error of a post to where nobody listens.
func refusedConnection(t *testing.T) error {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	c := collector.New(collector.OTLP(url.URL{Scheme: "http", Host: listener.Addr().String()}))
	defer c.Close()
	return c.Post(t.Context(), nil)
}

// The decision table of docs/architecture.md.
func TestVerdict(t *testing.T) {
	answer := func(status int) error {
		return fmt.Errorf("wrapped: %w", &collector.Refusal{Status: status, After: 3 * time.Second})
	}
	after := func(err error) error { return dispatch.RetryAfter(err, 3*time.Second) }
	plain := func(err error) error { return err }
	for _, tt := range []struct {
		name string
		err  error
		want func(error) error
	}{
		{"taken", nil, plain},
		{"taken but for some", &collector.Rejection{Spans: 3}, dispatch.Partial},
		{"400", answer(400), func(err error) error { return dispatch.Conclusive(after(err)) }},
		{"413", answer(413), func(err error) error { return dispatch.Split(after(err)) }},
		{"301", answer(301), after},
		{"403", answer(403), after},
		{"429", answer(429), after},
		{"500", answer(500), after},
		{"503", answer(503), after},
		{"a web page", answer(200), after},
		{"nobody listens", refusedConnection(t), dispatch.Unreachable},
		{"a name that is not known", &net.OpError{Op: "dial", Err: &net.DNSError{}}, dispatch.Unreachable},
		{"the connection ends", io.EOF, plain},
		{"the connection is reset", &net.OpError{Op: "read", Err: io.EOF}, plain},
		{"no answer in time", context.DeadlineExceeded, plain},
	} {
		t.Run(tt.name, func(t *testing.T) { assert.Equal(t, tt.want(tt.err), Verdict(tt.err)) })
	}
}

// What keeps two from agreeing on TLS says nothing about a record.
func TestWithoutTLSThereIsNoConnection(t *testing.T) {
	handler := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	plain := httptest.NewServer(handler)
	defer plain.Close()
	strict := httptest.NewUnstartedServer(handler)
	strict.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS13}
	strict.Config.ErrorLog = log.New(io.Discard, "", 0)
	strict.StartTLS()
	defer strict.Close()
	trusting := &http.Client{Transport: &http.Transport{TLSClientConfig: strict.Client().Transport.(*http.Transport).TLSClientConfig}}
	defer trusting.CloseIdleConnections()
	for name, url := range map[string]string{
		"a server without TLS":              "https" + strings.TrimPrefix(plain.URL, "http"),
		"a server that wants a certificate": strict.URL,
	} {
		_, err := trusting.Post(url, "", strings.NewReader("spans"))
		require.Error(t, err, name)
		assert.True(t, Unreachable(err), "%s: %v", name, err)
	}
}

func TestMisconfigured(t *testing.T) {
	for status, want := range map[int]bool{
		200: true, 301: true, 401: true, 403: true, 404: true, 405: true, 415: true,
		400: false, 408: false, 413: false, 429: false, 500: false, 502: false, 503: false,
	} {
		assert.Equal(t, want, Misconfigured(fmt.Errorf("post: %w", &collector.Refusal{Status: status})), status)
	}
	assert.False(t, Misconfigured(io.EOF))
	assert.False(t, Misconfigured(nil))
}
