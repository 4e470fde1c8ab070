package collector

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
)

func startOTLP(t *testing.T, change func(*Config), answer http.HandlerFunc) *Collector {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	endpoint, err := url.Parse(server.URL + "/v1/traces")
	require.NoError(t, err)
	cfg := OTLP(*endpoint)
	change(&cfg)
	c := New(cfg)
	t.Cleanup(c.Close)
	return c
}

func unchanged(*Config) {}

func write(w http.ResponseWriter, contentType string, status int, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

func TestAPartialSuccessTellsWhatWasRejected(t *testing.T) {
	partial := ptraceotlp.NewExportResponse()
	partial.PartialSuccess().SetRejectedSpans(3)
	partial.PartialSuccess().SetErrorMessage("no\x1b[1m room")
	inProto, err := partial.MarshalProto()
	require.NoError(t, err)
	inJSON, err := partial.MarshalJSON()
	require.NoError(t, err)
	warning := ptraceotlp.NewExportResponse()
	warning.PartialSuccess().SetErrorMessage("old version")
	warned, err := warning.MarshalProto()
	require.NoError(t, err)
	for _, tt := range []struct {
		name, contentType string
		body              []byte
		rejected          bool
	}{
		{"Protocol Buffers", "application/x-protobuf", inProto, true},
		{"JSON", "application/json; charset=utf-8", inJSON, true},
		{"a warning only", "application/x-protobuf", warned, false},
		{"nothing", "application/x-protobuf", nil, false},
		{"garbage", "application/x-protobuf", []byte("garbage"), false},
		{"text", "text/plain", inProto, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := startOTLP(t, unchanged, func(w http.ResponseWriter, r *http.Request) {
				assert.Equal(t, "application/x-protobuf", r.Header.Get("Content-Type"))
				assert.Equal(t, "/v1/traces", r.URL.String())
				write(w, tt.contentType, 200, tt.body)
			})
			err := c.Post(t.Context(), []byte("request"))
			if !tt.rejected {
				require.NoError(t, err)
				return
			}
			var rejection *Rejection
			require.ErrorAs(t, err, &rejection)
			assert.EqualValues(t, 3, rejection.Spans)
			assert.EqualError(t, err, "partly rejected, 3 span(s): no [1m room")
		})
	}
}

func TestTheMessageOfAStatusIsShown(t *testing.T) {
	body, err := proto.Marshal(&statuspb.Status{Code: 3, Message: "span 7 has\nno id"})
	require.NoError(t, err)
	c := startOTLP(t, unchanged, func(w http.ResponseWriter, _ *http.Request) { write(w, "application/x-protobuf", 400, body) })
	assert.EqualError(t, c.Post(t.Context(), nil), "jaeger answered 400 Bad Request: span 7 has no id")
}

func TestPostsAreCompressedAndCarryTheHeaders(t *testing.T) {
	c := startOTLP(t, func(cfg *Config) {
		cfg.Gzip = true
		cfg.Header = func() http.Header { return http.Header{"Authorization": {"Bearer x"}, "Content-Type": {"never"}} }
	}, func(_ http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "gzip", r.Header.Get("Content-Encoding"))
		assert.Equal(t, "Bearer x", r.Header.Get("Authorization"))
		assert.Equal(t, "application/x-protobuf", r.Header.Get("Content-Type"))
		unzipped, err := gzip.NewReader(r.Body)
		if assert.NoError(t, err) {
			body, err := io.ReadAll(unzipped)
			assert.NoError(t, err)
			assert.Equal(t, "request", string(body))
		}
	})
	for range 2 { // the second one with the compressor of the first
		require.NoError(t, c.Post(t.Context(), []byte("request")))
	}
}

func TestTheTimeoutIsThatOfTheConfig(t *testing.T) {
	never := make(chan struct{})
	defer close(never)
	c := startOTLP(t, func(cfg *Config) { cfg.Timeout = 50 * time.Millisecond }, func(http.ResponseWriter, *http.Request) { <-never })
	ctx, cancel := context.WithTimeout(t.Context(), DefaultTimeout/2)
	defer cancel()
	require.ErrorContains(t, c.Post(ctx, nil), "Client.Timeout")
}
