package service

import (
	"context"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestAVariableThatLooksLikeASettingIsToldOf(t *testing.T) {
	for _, tt := range []struct{ variable, setting string }{ // "": none
		{"JAEGER_ENDPONT", "JAEGER_ENDPOINT"},
		{"JAEGER_ENDPIONT", "JAEGER_ENDPOINT"},
		{"KAFKA_BROKER", "KAFKA_BROKERS"},
		{"TRACING_KAFKA_BROKERS_", "TRACING_KAFKA_BROKERS"},
		{"KAFKA_SASL_PASSWORD_FIL", "KAFKA_SASL_PASSWORD_FILE"},
		{"LOGLEVEL", "LOG_LEVEL"},
		{"JAEGER_ENDPOINT", ""},
		{"KAFKA_SASL_PASSWORD_FILE", ""},
		{"KAFKA_TLS_FILE", ""},
		{"JAEGER_AGENT_HOST", ""},
		{"HTTP_PROXY", ""},
		{"PATH", ""},
	} {
		var want []suspicion
		if tt.setting != "" {
			want = []suspicion{{tt.variable, tt.setting}}
		}
		assert.Equal(t, want, misspelt(new(testConfig), []string{"HOME=/", tt.variable + "=x"}))
	}
	assert.Empty(t, misspelt(new(testConfig), []string{"KAFKA_BROKER="}), "one that is empty")
}

func TestAMisspeltVariableStopsNothing(t *testing.T) {
	p, _, stderr := testProgram(func(context.Context, testConfig, *slog.Logger) error { return nil }, "JAEGER_ENDPONT=http://x")
	assert.Equal(t, 0, p.main(nil))
	assert.Contains(t, stderr.String(), `"level":"WARN","msg":"this variable is no setting and is ignored, another one may be meant","service":"example","variable":"JAEGER_ENDPONT","setting":"JAEGER_ENDPOINT"}`)

	program, output := fetchProgram(func(context.Context, fetchConfig, []string) error { return nil })
	t.Setenv("SOURC", "there")
	assert.Equal(t, 0, program("store", "fetch", "a"))
	_, told := output()
	assert.Equal(t, "example store fetch: SOURC is no setting and is ignored; is SOURCE meant?\n", told)
}
