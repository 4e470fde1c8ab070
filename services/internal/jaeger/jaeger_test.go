package jaeger

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/uber/jaeger-client-go/thrift"
	thriftgen "github.com/uber/jaeger-client-go/thrift-gen/jaeger"

	"fault-tolerant-tracing/tracing/tracingtest"
)

func TestMain(m *testing.M) { tracingtest.VerifyMain(m) }

// newSpan returns the root of a new trace.
func newSpan(operation string) *thriftgen.Span {
	id := rand.Int64()
	return &thriftgen.Span{
		TraceIdLow:    id,
		SpanId:        id,
		OperationName: operation,
		Flags:         1,
		StartTime:     time.Now().UnixMicro(),
		Duration:      1500,
	}
}

// hexID is an id as Jaeger writes it.
func hexID(id int64) string { return fmt.Sprintf("%016x", uint64(id)) }

func newBatch(service string, spans ...*thriftgen.Span) *thriftgen.Batch {
	return &thriftgen.Batch{Process: &thriftgen.Process{ServiceName: service}, Spans: spans}
}

func encode(t *testing.T, b *thriftgen.Batch) []byte {
	t.Helper()
	buffer := thrift.NewTMemoryBuffer()
	require.NoError(t, b.Write(t.Context(), thrift.NewTBinaryProtocolConf(buffer, nil)))
	return buffer.Bytes()
}

// send sends a request and returns the status and body of the answer.
func send(t *testing.T, method, url, contentType string, body []byte) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	require.NoError(t, err)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(answer)
}

// post posts a batch that Jaeger must take.
func post(t *testing.T, p *Process, b *thriftgen.Batch) {
	t.Helper()
	status, answer := send(t, http.MethodPost, p.Endpoint(), "application/x-thrift", encode(t, b))
	require.Equal(t, http.StatusAccepted, status, answer)
}

func newQuery(t *testing.T, p *Process) *Query {
	t.Helper()
	q := NewQuery(p.QueryURL())
	t.Cleanup(q.Close)
	return q
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
