package main

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fault-tolerant-tracing/services/internal/jaeger"
	"fault-tolerant-tracing/tracing"
)

// What a person has set for other runs must neither change this one nor be dropped in silence.
func TestAServiceSeesTheLogLevelAndNoOtherSettingOfTheEnvironment(t *testing.T) {
	settings := []string{"JAEGER_SAMPLER_TYPE", "KAFKA_BROKERS", "OTEL_EXPORTER_OTLP_ENDPOINT", "TRACING_KAFKA_BROKERS", "LOG_FORMAT"}
	for _, name := range settings {
		t.Setenv(name, "elsewhere:1")
	}
	t.Setenv("LOG_LEVEL", "debug")
	work := t.TempDir()
	d := &demo{transport: tracing.Kafka, root: work, work: work, supervisor: []string{"env"}, jaeger: jaeger.New(jaeger.Options{})}
	require.NoError(t, os.Mkdir(d.logs(), 0o755))
	require.NoError(t, os.Mkdir(d.bin(""), 0o755))
	require.NoError(t, os.WriteFile(d.bin("random"), []byte("#!/bin/sh\nenv\n"), 0o755))
	c, err := d.startChild("random", "random", 1)
	require.NoError(t, err)
	require.NoError(t, c.Wait(t.Context()))
	log, err := os.ReadFile(d.log("random"))
	require.NoError(t, err)
	assert.Contains(t, string(log), "LOG_LEVEL=debug\n")
	assert.NotContains(t, string(log), "elsewhere:1")

	told := ignored(os.Environ())
	assert.Subset(t, told, settings)
	assert.NotContains(t, told, "LOG_LEVEL")
	assert.NotContains(t, told, "PATH")
}

// eventually polls until ok, for a minute at most.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, time.Minute, 20*time.Millisecond, what)
}
