package service

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fault-tolerant-tracing/tracing/tracingtest"
)

func loadOTLP(t *testing.T, environ ...string) OTLP {
	t.Helper()
	var o OTLP
	require.NoError(t, Load(&o, environ))
	return o
}

func TestOTLPEndpoint(t *testing.T) {
	for _, tt := range []struct {
		environ []string
		want    string
		set     bool
	}{
		{nil, "http://localhost:4318/v1/traces", false},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=https://backend:4318"}, "https://backend:4318/v1/traces", true},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=https://backend/otlp/"}, "https://backend/otlp/v1/traces", true},
		{[]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://traces:9/as/it/is"}, "http://traces:9/as/it/is", true},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://other", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://traces/"}, "http://traces/", true},
	} {
		o := loadOTLP(t, tt.environ...)
		url := o.Config().URL
		assert.Equal(t, tt.want, url.String())
		assert.Equal(t, tt.set, o.Set())
	}
}

// What is said of traces goes before what is said of all signals.
func TestOTLPSettings(t *testing.T) {
	o := loadOTLP(t)
	cfg := o.Config()
	assert.Empty(t, cfg.Header())
	assert.Nil(t, cfg.TLS)
	assert.False(t, cfg.Gzip)
	assert.Equal(t, 10*time.Second, cfg.Timeout)

	file := filepath.Join(t.TempDir(), "headers")
	tracingtest.WriteFile(t, file, []byte("api-key=from%20a%20file\n"))
	o = loadOTLP(t, "OTEL_EXPORTER_OTLP_HEADERS_FILE="+file, "OTEL_EXPORTER_OTLP_COMPRESSION=gzip", "OTEL_EXPORTER_OTLP_TIMEOUT=2500")
	cfg = o.Config()
	assert.Equal(t, "from a file", cfg.Header().Get("api-key"))
	tracingtest.WriteFile(t, file, []byte("api-key=replaced\n"))
	assert.Equal(t, "replaced", cfg.Header().Get("api-key"))
	tracingtest.WriteFile(t, file, []byte("half wri"))
	assert.Equal(t, "from a file", cfg.Header().Get("api-key"))
	assert.True(t, cfg.Gzip)
	assert.Equal(t, 2500*time.Millisecond, cfg.Timeout)

	o = loadOTLP(t, "OTEL_EXPORTER_OTLP_HEADERS=a=1", "OTEL_EXPORTER_OTLP_TRACES_HEADERS= b = 2 ,c=x%3Dy,",
		"OTEL_EXPORTER_OTLP_COMPRESSION=gzip", "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION=none", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT=1")
	cfg = o.Config()
	assert.Empty(t, cfg.Header().Get("a"))
	assert.Equal(t, "2", cfg.Header().Get("b"))
	assert.Equal(t, "x=y", cfg.Header().Get("c"))
	assert.False(t, cfg.Gzip)
	assert.Equal(t, time.Millisecond, cfg.Timeout)
}

func TestBadOTLPSettings(t *testing.T) {
	var o OTLP
	err := Load(&o, []string{"OTEL_EXPORTER_OTLP_ENDPOINT=localhost:4317", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_HEADERS=secret",
		"OTEL_EXPORTER_OTLP_COMPRESSION=zstd", "OTEL_EXPORTER_OTLP_TIMEOUT=10s", "OTEL_EXPORTER_OTLP_CLIENT_KEY=key.pem"})
	assert.EqualError(t, err, `6 settings are wrong:
  OTEL_EXPORTER_OTLP_ENDPOINT="localhost:4317": must be an absolute http or https URL
  OTEL_EXPORTER_OTLP_COMPRESSION="zstd": must be one of none, gzip
  OTEL_EXPORTER_OTLP_TIMEOUT="10s": must be a whole number above zero
  OTEL_EXPORTER_OTLP_PROTOCOL="grpc": must be http/protobuf: the relay speaks OTLP by HTTP, for which backends have another port, 4318 instead of 4317
  OTEL_EXPORTER_OTLP_HEADERS: must be name=value, separated by commas, values percent-encoded
  OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE, OTEL_EXPORTER_OTLP_CLIENT_KEY: must be set both or not at all`)

	missing := filepath.Join(t.TempDir(), "none.pem")
	err = Load(&o, []string{"OTEL_EXPORTER_OTLP_CERTIFICATE=" + missing})
	assert.ErrorContains(t, err, "OTEL_EXPORTER_OTLP_*CERTIFICATE: no such file or directory")
	tracingtest.WriteFile(t, missing, []byte("no certificate"))
	assert.ErrorContains(t, Load(&o, []string{"OTEL_EXPORTER_OTLP_CERTIFICATE=" + missing}), "no certificate in "+missing)
}
