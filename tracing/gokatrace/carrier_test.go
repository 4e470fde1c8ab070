package gokatrace

import (
	"strings"
	"testing"

	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/lovoo/goka"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/uber/jaeger-client-go"
)

func TestExtract(t *testing.T) {
	const read = "000000000000000a:000000000000000b:0000000000000000:1"
	tests := []struct {
		name  string
		value string
		want  string // "" for nil
	}{
		{"plain", "a:b:0:1", read},
		{"URL-encoded", "a%3Ab%3A0%3a1", read},
		{"empty", "", ""},
		{"garbage", "hello", ""},
		{"too few fields", "a:b:1", ""},
		{"too many fields", "a:b:0:1:1", ""},
		{"trace id zero", "0:b:0:1", ""},
		{"span id zero", "a:0:0:1", ""},
		{"huge", strings.Repeat("a:", 500_000), ""},
		{"not UTF-8", "a:b:\xff:1", ""},
	}
	tracer, _ := tracingtest.NewTracer(t, "test")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sc := extract(tracer, goka.Headers{"other": []byte("a:b:0:1"), "uber-trace-id": []byte(tt.value)})
			if tt.want == "" {
				assert.Nil(t, sc)
				return
			}
			require.NotNil(t, sc)
			assert.Equal(t, tt.want, sc.(jaeger.SpanContext).String())
		})
	}
	assert.Nil(t, extract(tracer, nil))
}

func TestTheContextInLowerCaseCounts(t *testing.T) {
	tracer, _ := tracingtest.NewTracer(t, "test")
	for _, other := range []string{"1:1:0:1", "?"} {
		for range 50 { // maps have no order
			sc := extract(tracer, goka.Headers{"Uber-Trace-Id": []byte(other), "uber-trace-id": []byte("a:b:0:1"), "UBER-TRACE-ID": []byte(other)})
			require.NotNil(t, sc)
			require.Equal(t, "000000000000000a:000000000000000b:0000000000000000:1", sc.(jaeger.SpanContext).String())
		}
	}
	require.NotNil(t, extract(tracer, goka.Headers{"Uber-Trace-Id": []byte("a:b:0:1")}))
}

func TestCarrierSetReplacesWhateverTheCase(t *testing.T) {
	headers := goka.Headers{"K": []byte("old"), "other": []byte("stays")}
	carrier(headers).Set("k", "new")
	assert.Equal(t, goka.Headers{"k": []byte("new"), "other": []byte("stays")}, headers)
}
