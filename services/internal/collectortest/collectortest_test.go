package collectortest

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/uber/jaeger-client-go/thrift-gen/jaeger"

	"fault-tolerant-tracing/tracing/batch"
	"fault-tolerant-tracing/tracing/tracingtest"
)

func TestMain(m *testing.M) { tracingtest.VerifyMain(m) }

func TestCollectorCountsOnlyWhatItTook(t *testing.T) {
	process, err := batch.EncodeProcess(&jaeger.Process{ServiceName: "test"})
	require.NoError(t, err)
	span, err := batch.AppendSpan(nil, &jaeger.Span{OperationName: "a"})
	require.NoError(t, err)
	body := batch.Encode(process, span, 1, 1, batch.Stats{})
	c := Start(t, func(w http.ResponseWriter, p Post) {
		assert.Equal(t, body, p.Body)
		assert.Equal(t, []string{"test"}, p.Services)
		assert.Equal(t, []string{"a"}, p.Operations)
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	post := func(url, contentType string) int {
		answer, err := client.Post(url, contentType, bytes.NewReader(body))
		if err != nil {
			return 0
		}
		require.NoError(t, answer.Body.Close())
		return answer.StatusCode
	}
	assert.Equal(t, 503, post(c.ThriftURL(), "application/x-thrift"))
	assert.Empty(t, c.AllTaken())
	c.Answer(HangUp)
	assert.Equal(t, 0, post(c.ThriftURL(), "application/x-thrift"))
	c.Answer(Status(202))
	assert.Equal(t, 202, post(c.ThriftURL(), "application/x-thrift"))
	assert.Equal(t, 404, post(c.ThriftURL()+"/elsewhere", "application/x-thrift"))
	assert.Equal(t, 415, post(c.ThriftURL(), "text/plain"))
	assert.Equal(t, 3, c.Posts())
	assert.Equal(t, 1, c.Taken("a"))
	c.Close()
	assert.Equal(t, 0, post(c.ThriftURL(), "application/x-thrift"))
}
