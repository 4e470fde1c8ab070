package main

import (
	"html"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fault-tolerant-tracing/services/internal/collectortest"
)

func TestThePageSaysWhatTheRelayDoes(t *testing.T) {
	t.Parallel()
	collector := collectortest.Start(t, collectortest.Status(503))
	r := startRelay(t, collector.URL())
	r.produce(newBatch(t, "a"))
	says := func(pattern string) func() bool {
		return func() bool {
			response, err := http.Get("http://" + r.addr + "/")
			if err != nil {
				return false
			}
			defer response.Body.Close()
			text, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			assert.Contains(t, response.Header.Get("Content-Security-Policy"), "default-src 'none'")
			return assert.Regexp(assertNothing{}, pattern, html.UnescapeString(string(text)))
		}
	}
	r.eventually("the outage is seen", says(`(?s)■ holding.*jaeger answered 503.*Nothing is skipped.*records waiting</dt><dd>1<.*No outage since the start`))
	collector.Answer(collectortest.Status(202))
	r.eventually("and its end", says(`(?s)● delivering.*records waiting</dt><dd>0<.*The last outage: .* tries that failed`))
}

// assertNothing lets an assertion be asked without a failure.
type assertNothing struct{}

func (assertNothing) Errorf(string, ...any) {}
