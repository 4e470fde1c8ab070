package service

import (
	"bytes"
	"context"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"fault-tolerant-tracing/tracing"
	"fault-tolerant-tracing/tracing/kafkaclient"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/uber/jaeger-client-go/config"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares text with the file testdata/name.
func golden(t *testing.T, name, text string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(want), text)
}

type testConfig struct {
	HTTPAddr Addr `env:"HTTP_ADDR" envDefault:":8096" help:"address for health and metrics"`
	Retries  int  `env:"RETRIES" envDefault:"3" help:"how often to try"`
	Kafka    Kafka
	Tracing  Tracing
	Group    Group
	Common   Common
}

// testProgram is a program whose run is given, and what it printed.
func testProgram(run func(context.Context, testConfig, *slog.Logger) error, environ ...string) (p program[testConfig], stdout, stderr *bytes.Buffer) {
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	return program[testConfig]{name: "example", doc: "Command example shows how it is.", run: run, stdout: stdout, stderr: stderr, environ: environ}, stdout, stderr
}

func TestHelpTellsEverySetting(t *testing.T) {
	p, stdout, stderr := testProgram(nil)
	assert.Equal(t, 0, p.main([]string{"--help"}))
	golden(t, "help.txt", stdout.String())
	assert.Empty(t, stderr.String())
}

func TestBadSettingsAreToldAllAtOnce(t *testing.T) {
	t.Setenv("JAEGER_REPORTER_FLUSH_INTERVAL", "soon")
	p, stdout, stderr := testProgram(nil,
		"HTTP_ADDR=8096", "RETRIES=0", "LOG_LEVEL=loud", "LOG_FORMAT=xml", "SHUTDOWN_TIMEOUT=8", "SESSION_TIMEOUT=-1s",
		"KAFKA_BROKERS=a:1,,b:2", "KAFKA_SECURITY_PROTOCOL=SASL_SSL", "KAFKA_SASL_MECHANISM=GSSAPI", "KAFKA_SASL_USERNAME=me",
		"KAFKA_SASL_PASSWORD=geheim", "KAFKA_SASL_PASSWORD_FILE=password", "KAFKA_TLS_CERT_FILE=missing.pem",
		"TRACING_KAFKA_SASL_PASSWORD_FILE=missing", "TRACING_KAFKA_TLS_CA_FILE=ca.pem", "TRACING_TRANSPORT=pigeon",
		"JAEGER_ENDPOINT=http://me:geheim@/api")
	assert.Equal(t, 2, p.main(nil))
	assert.Empty(t, stdout.String())
	assert.NotContains(t, stderr.String(), "geheim")
	golden(t, "bad-settings.txt", stderr.String())
}

func TestNumbersMustBeNumbers(t *testing.T) {
	for _, value := range []string{"x", "1.5", "-1", "0", "99999999999999999999"} {
		p, _, stderr := testProgram(nil, "RETRIES="+value)
		assert.Equal(t, 2, p.main(nil))
		assert.Equal(t, "example: a setting is wrong:\n  RETRIES=\""+value+"\": must be a whole number above zero\n", stderr.String())
	}
}

func TestBrokersHaveHostAndPort(t *testing.T) {
	for _, value := range []string{"a:", ":9092", "a", "a:1,", "a:1,b", "a:0", "a:65536", "a:kafka", "http://a:1", ","} {
		p, _, stderr := testProgram(nil, "KAFKA_BROKERS="+value)
		assert.Equal(t, 2, p.main(nil))
		assert.Equal(t, "example: a setting is wrong:\n  KAFKA_BROKERS=\""+value+"\": must be addresses host:port, separated by commas\n", stderr.String())
	}
	assert.Equal(t, []string{"a:1", "[::1]:2"}, mustLoad(t, "KAFKA_BROKERS=a:1, [::1]:2").Kafka.Cluster().Brokers)
}

func TestAnEndpointOfJaegerIsRefusedOnce(t *testing.T) {
	t.Setenv("JAEGER_ENDPOINT", "nope")
	t.Setenv("JAEGER_SAMPLER_TYPE", "dice")
	p, _, stderr := testProgram(nil, "JAEGER_ENDPOINT=nope")
	assert.Equal(t, 2, p.main(nil))
	assert.Equal(t, `example: 2 settings are wrong:
  JAEGER_ENDPOINT="nope": must be an absolute http or https URL
  JAEGER_SAMPLER_TYPE="dice": must be one of const, probabilistic, ratelimiting, remote
`, stderr.String())
}

func TestSamplersOfJaegerAreChecked(t *testing.T) {
	for _, tt := range []struct{ kind, param, want string }{
		{"const", "7", ""},
		{"Probabilistic", "1", ""},
		{"ratelimiting", "100", ""},
		{"remote", "0.5", ""},
		{"probabilistic", "1.5", `JAEGER_SAMPLER_PARAM="1.5": must be 0 to 1 with sampler probabilistic`},
		{"remote", "-1", `JAEGER_SAMPLER_PARAM="-1": must be 0 to 1 with sampler remote`},
		{"constant", "1", `JAEGER_SAMPLER_TYPE="constant": must be one of const, probabilistic, ratelimiting, remote`},
	} {
		t.Setenv("JAEGER_SAMPLER_TYPE", tt.kind)
		t.Setenv("JAEGER_SAMPLER_PARAM", tt.param)
		var cfg testConfig
		if err := Load(&cfg, nil); tt.want == "" {
			assert.NoError(t, err)
		} else {
			assert.EqualError(t, err, "a setting is wrong:\n  "+tt.want)
		}
	}
}

func TestTagsOfJaegerWithoutValueAreNoCrash(t *testing.T) {
	t.Setenv("JAEGER_TAGS", "a=b,c")
	p, _, stderr := testProgram(nil)
	assert.Equal(t, 2, p.main(nil))
	assert.Equal(t, "example: a setting is wrong:\n  JAEGER_TAGS=\"a=b,c\": must be name=value, separated by commas\n", stderr.String())
}

func mustLoad(t *testing.T, environ ...string) testConfig {
	t.Helper()
	var cfg testConfig
	require.NoError(t, Load(&cfg, environ))
	return cfg
}

func TestDefaults(t *testing.T) {
	cfg := mustLoad(t)
	assert.Equal(t, kafkaclient.Cluster{Brokers: []string{"localhost:9092"}, Security: kafkaclient.Security{Protocol: "PLAINTEXT"}}, cfg.Kafka.Cluster())
	assert.Equal(t, Common{LogLevel: slog.LevelInfo, ShutdownTimeout: 8 * time.Second}, cfg.Common)
	assert.Equal(t, Group{SessionTimeout: 10 * time.Second}, cfg.Group)
	assert.Equal(t, Addr(":8096"), cfg.HTTPAddr)
	log := slog.New(slog.DiscardHandler)
	assert.Equal(t, tracing.Config{
		Service:   "example",
		Transport: tracing.Kafka,
		Kafka: kafkaclient.Cluster{
			Brokers: []string{"localhost:9092"}, Security: kafkaclient.Security{Protocol: "PLAINTEXT"}, ClientID: "example-tracing",
		},
		Topic:         "tracing-topic",
		Endpoint:      "http://localhost:14268/api/traces",
		Sampler:       config.SamplerConfig{Type: "const", Param: 1},
		LogSpans:      true,
		FlushInterval: time.Second,
		QueueSize:     10_000,
		Logger:        log,
	}, cfg.Tracing.Config("example", log))
}

func TestEmptyVariablesCountAsMissing(t *testing.T) {
	assert.Equal(t, mustLoad(t), mustLoad(t, "KAFKA_BROKERS=", "SHUTDOWN_TIMEOUT=", "TRACING_KAFKA_BROKERS=", "LOG_FORMAT=", "JAEGER_ENDPOINT="))
}

func TestTheSpoolReachesTheTracer(t *testing.T) {
	assert.Equal(t, "/spool", mustLoad(t, "TRACING_SPOOL_DIR=/spool").Tracing.Config("example", nil).SpoolDir)
}

func TestJaegerVariablesReachTheTracer(t *testing.T) {
	t.Setenv("JAEGER_SERVICE_NAME", "other")
	t.Setenv("JAEGER_DISABLED", "true")
	t.Setenv("JAEGER_TRACEID_128BIT", "true")
	t.Setenv("JAEGER_TAGS", "zone=a")
	t.Setenv("JAEGER_SAMPLER_TYPE", "probabilistic")
	t.Setenv("JAEGER_SAMPLER_PARAM", "0.5")
	t.Setenv("JAEGER_REPORTER_LOG_SPANS", "false")
	t.Setenv("JAEGER_REPORTER_FLUSH_INTERVAL", "2s")
	t.Setenv("JAEGER_REPORTER_MAX_QUEUE_SIZE", "7")
	got := mustLoad(t, "JAEGER_ENDPOINT=https://jaeger/api/traces?x=1").Tracing.Config("example", nil)
	assert.Equal(t, "other", got.Service)
	assert.Equal(t, "https://jaeger/api/traces?x=1", got.Endpoint)
	assert.True(t, got.Disabled)
	assert.True(t, got.Gen128Bit)
	assert.False(t, got.LogSpans)
	assert.Equal(t, config.SamplerConfig{Type: "probabilistic", Param: 0.5}, got.Sampler)
	assert.Equal(t, 2*time.Second, got.FlushInterval)
	assert.Equal(t, 7, got.QueueSize)
	require.Len(t, got.Tags, 1)
	assert.Equal(t, "zone", got.Tags[0].Key)
}

func TestJaegerPasswordComesFromAFileToo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte("geheim\n"), 0o600))
	t.Setenv("JAEGER_PASSWORD", "") // put back after the test
	t.Setenv("JAEGER_ENDPOINT", "http://jaeger/api/traces")
	t.Setenv("JAEGER_USER", "me")
	got := mustLoad(t, "JAEGER_ENDPOINT=http://jaeger/api/traces", "JAEGER_USER=me", "JAEGER_PASSWORD_FILE="+file).Tracing.Config("example", nil)
	assert.Equal(t, "me", got.User)
	assert.Equal(t, "geheim", got.Password)

	p, _, stderr := testProgram(nil, "JAEGER_USER=me")
	assert.Equal(t, 2, p.main(nil))
	assert.Equal(t, "example: a setting is wrong:\n  JAEGER_USER, JAEGER_PASSWORD: must be set both or not at all\n", stderr.String())
}

func TestTracingUsesTheClusterOfTheDataUnlessToldOtherwise(t *testing.T) {
	sasl := []string{"KAFKA_BROKERS=a:1", "KAFKA_SECURITY_PROTOCOL=SASL_PLAINTEXT", "KAFKA_SASL_MECHANISM=PLAIN", "KAFKA_SASL_USERNAME=me", "KAFKA_SASL_PASSWORD=secret"}
	security := kafkaclient.Security{Protocol: "SASL_PLAINTEXT", SASLMechanism: "PLAIN", SASLUsername: "me", SASLPassword: "secret"}
	for _, tt := range []struct {
		name string
		vars []string
		want kafkaclient.Cluster
	}{
		{"nothing set", nil, kafkaclient.Cluster{Brokers: []string{"a:1"}, Security: security}},
		{"other brokers", []string{"TRACING_KAFKA_BROKERS=b:1,b:2"}, kafkaclient.Cluster{Brokers: []string{"b:1", "b:2"}, Security: security}},
		{
			"other security, of which nothing is mixed", []string{"TRACING_KAFKA_SECURITY_PROTOCOL=PLAINTEXT"},
			kafkaclient.Cluster{Brokers: []string{"a:1"}, Security: kafkaclient.Security{Protocol: "PLAINTEXT"}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := mustLoad(t, append(tt.vars, sasl...)...)
			assert.Equal(t, tt.want, cfg.Tracing.Kafka.Cluster())
			assert.Equal(t, security, cfg.Kafka.Cluster().Security)
		})
	}
}

func TestSecretsComeFromFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte("geheim \n"), 0o600))
	cfg := mustLoad(t, "KAFKA_SECURITY_PROTOCOL=SASL_PLAINTEXT", "KAFKA_SASL_MECHANISM=PLAIN", "KAFKA_SASL_USERNAME=me", "KAFKA_SASL_PASSWORD_FILE="+file)
	assert.Equal(t, "geheim ", cfg.Kafka.Security.SASLPassword)
	assert.Equal(t, "geheim ", cfg.Tracing.Kafka.Security.SASLPassword)
	assert.Equal(t, file, cfg.Kafka.Cluster().Security.SASLPasswordFile, "to be read again")
	assert.Equal(t, file, cfg.Tracing.Kafka.Cluster().Security.SASLPasswordFile)
}

func TestSecurityIsWholeOrRefused(t *testing.T) {
	pem := filepath.Join(t.TempDir(), "x.pem")
	require.NoError(t, os.WriteFile(pem, nil, 0o600))
	for _, tt := range []struct {
		name string
		s    Security
		want []string
	}{
		{"plain", Security{Protocol: "PLAINTEXT"}, nil},
		{"TLS with own certificate", Security{Protocol: "SSL", TLSCAFile: pem, TLSCertFile: pem, TLSKeyFile: pem}, nil},
		{"SASL", Security{Protocol: "SASL_SSL", SASLMechanism: "PLAIN", SASLUsername: "u", SASLPassword: "p"}, nil},
		{"user without password", Security{Protocol: "SASL_SSL", SASLMechanism: "PLAIN", SASLUsername: "u"},
			[]string{"KAFKA_SASL_PASSWORD: must be set with security protocol SASL_SSL"}},
		{"user without SASL", Security{Protocol: "SSL", SASLUsername: "u"},
			[]string{"KAFKA_SASL_USERNAME: must only be set with security protocol SASL_PLAINTEXT or SASL_SSL"}},
		{"authorities without TLS", Security{Protocol: "PLAINTEXT", TLSCAFile: pem},
			[]string{"KAFKA_TLS_CA_FILE: must only be set with security protocol SSL or SASL_SSL"}},
		{"key without certificate", Security{Protocol: "SSL", TLSKeyFile: pem},
			[]string{"KAFKA_TLS_CERT_FILE, KAFKA_TLS_KEY_FILE: must be set both or not at all"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, p := range tt.s.Check() {
				got = append(got, p.String())
			}
			assert.Equal(t, tt.want, got)
			if tt.want == nil {
				assert.NoError(t, kafkaclient.Cluster{Brokers: []string{"a:1"}, Security: kafkaclient.Security(tt.s)}.Validate())
			}
		})
	}
}
