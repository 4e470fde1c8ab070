package main

import (
	"bytes"
	"cmp"
	"math/rand/v2"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	thrift "github.com/uber/jaeger-client-go/thrift-gen/jaeger"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"fault-tolerant-tracing/services/internal/jaeger"
	"fault-tolerant-tracing/services/internal/payload"
	"fault-tolerant-tracing/services/internal/verdict"
)

// What the real Jaeger makes of poison that it takes is what the verdict says that it makes of it; and what the relay takes for spans, the
// verdict can read.
func TestTheVerdictKnowsWhatBecomesOfPoison(t *testing.T) {
	p := jaeger.StartForTest(t)
	query := jaeger.NewQuery(p.QueryURL())
	t.Cleanup(query.Close)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	r := rand.New(rand.NewPCG(7, 7))
	parsed, taken, compared := 0, 0, 0
	var values [][]byte
	for range 1500 {
		values = append(values, spanPoison(r).Value, turned(r))
	}
	for _, service := range []string{"", "\xff"} {
		values = append(values, bytes.ReplaceAll(thriftBatch(r, func(*thrift.Span) {}), []byte("\x06poison"), append([]byte{byte(len(service))}, service...)))
		traces := otlpTraces(r)
		traces.ResourceSpans().At(0).Resource().Attributes().PutStr("service.name", service)
		value, err := (&ptrace.ProtoMarshaler{}).MarshalTraces(traces)
		require.NoError(t, err)
		values = append(values, value)
	}
	for _, value := range values {
		spans, err := payload.Parse(value)
		if err != nil {
			continue
		}
		parsed++
		expected, err := verdict.FromTopic(value)
		if !assert.NoError(t, err, "%q", value) {
			continue
		}
		assert.Len(t, expected, spans.Len(), "%q", value)
		resp, err := client.Post(p.OTLPEndpoint(), "application/x-protobuf", bytes.NewReader(spans.AppendOTLP(nil, 0, spans.Len())))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		if resp.StatusCode != http.StatusOK {
			continue
		}
		taken++
		for _, e := range expected {
			traces, err := query.TracesByID(t.Context(), []string{cmp.Or(e.TraceID, "0")})
			if !assert.NoError(t, err, "%q", value) || !assert.Len(t, traces, 1, "%q", value) {
				continue
			}
			for _, got := range verdict.FromJaeger(&traces[0]) {
				if got.ID == e.ID {
					compared++
					assert.Empty(t, verdict.Differences(e, got), "%q", value)
				}
			}
		}
	}
	t.Logf("%d records were read, %d were taken, with %d spans", parsed, taken, compared)
	assert.Greater(t, compared, 400)
}
