package kafkatrace

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/uber/jaeger-client-go"
)

const contextKey = "uber-trace-id"

func header(key, value string) kafka.Header { return kafka.Header{Key: key, Value: []byte(value)} }

func TestExtract(t *testing.T) {
	const good = "4d1e00c0db9010db:7b0d:1:1"
	tests := []struct {
		name    string
		headers []kafka.Header
		want    string // "" for nil
	}{
		{"no headers", nil, ""},
		{"other headers only", []kafka.Header{header("trace", good), header("", good)}, ""},
		{"plain", []kafka.Header{header(contextKey, good)}, "4d1e00c0db9010db:0000000000007b0d:0000000000000001:1"},
		{"URL-encoded", []kafka.Header{header(contextKey, "4d1e00c0db9010db%3A7b0d%3a1%3A1")}, "4d1e00c0db9010db:0000000000007b0d:0000000000000001:1"},
		{"root without parent", []kafka.Header{header(contextKey, "a:b:0:1")}, "000000000000000a:000000000000000b:0000000000000000:1"},
		{"trace id of 128 bits", []kafka.Header{header(contextKey, "1000000000000000a:b:0:1")}, "0000000000000001000000000000000a:000000000000000b:0000000000000000:1"},
		{"not sampled", []kafka.Header{header(contextKey, "a:b:0:0")}, "000000000000000a:000000000000000b:0000000000000000:0"},
		{"other case of the name", []kafka.Header{header("Uber-Trace-Id", "a:b:0:1")}, "000000000000000a:000000000000000b:0000000000000000:1"},
		{"the last of several counts", []kafka.Header{header(contextKey, "1:1:0:1"), header("x", ""), header(contextKey, "a:b:0:1")}, "000000000000000a:000000000000000b:0000000000000000:1"},
		{"the last of several counts, if malformed too", []kafka.Header{header(contextKey, good), header(contextKey, "?")}, ""},
		{"a malformed one before the last is overridden", []kafka.Header{header(contextKey, "?"), header(contextKey, "a:b:0:1")}, "000000000000000a:000000000000000b:0000000000000000:1"},
		{"null value", []kafka.Header{{Key: contextKey}}, ""},
		{"empty value", []kafka.Header{header(contextKey, "")}, ""},
		{"garbage", []kafka.Header{header(contextKey, "hello")}, ""},
		{"too few fields", []kafka.Header{header(contextKey, "a:b:1")}, ""},
		{"too many fields", []kafka.Header{header(contextKey, "a:b:0:1:1")}, ""},
		{"empty fields", []kafka.Header{header(contextKey, ":::")}, ""},
		{"not hexadecimal", []kafka.Header{header(contextKey, "xyz:b:0:1")}, ""},
		{"trace id zero", []kafka.Header{header(contextKey, "0:b:0:1")}, ""},
		{"span id zero", []kafka.Header{header(contextKey, "a:0:0:1")}, ""},
		{"trace id too long", []kafka.Header{header(contextKey, strings.Repeat("a", 33)+":b:0:1")}, ""},
		{"span id too long", []kafka.Header{header(contextKey, "a:"+strings.Repeat("b", 17)+":0:1")}, ""},
		{"flags too large", []kafka.Header{header(contextKey, "a:b:0:256")}, ""},
		{"broken URL encoding", []kafka.Header{header(contextKey, "a%3b:0:1%")}, ""},
		{"huge", []kafka.Header{header(contextKey, strings.Repeat("a:", 500_000))}, ""},
		{"not UTF-8", []kafka.Header{header(contextKey, "a:b:\xff\xfe:1")}, ""},
	}
	tracer, _ := tracingtest.NewTracer(t, "test")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sc := Extract(tracer, &kafka.Message{Headers: tt.headers})
			if tt.want == "" {
				assert.Nil(t, sc)
				return
			}
			require.NotNil(t, sc)
			assert.Equal(t, tt.want, sc.(jaeger.SpanContext).String())
		})
	}
}

func TestExtractTakesLinearTime(t *testing.T) {
	tracer, _ := tracingtest.NewTracer(t, "test")
	headers := []kafka.Header{header(contextKey, "a:b:0:1")}
	for i := range 200_000 { // most that fit into a record
		headers = append(headers, header(strconv.Itoa(i), ""))
	}
	start := time.Now()
	require.NotNil(t, Extract(tracer, &kafka.Message{Headers: headers}))
	assert.Less(t, time.Since(start), 5*time.Second)
}

func TestCarrierSet(t *testing.T) {
	tests := []struct {
		name   string
		before []kafka.Header
		want   []kafka.Header
	}{
		{"adds to none", nil, []kafka.Header{header("k", "new")}},
		{"keeps others and their order", []kafka.Header{header("a", "1"), header("b", "2")}, []kafka.Header{header("a", "1"), header("b", "2"), header("k", "new")}},
		{"replaces", []kafka.Header{header("k", "old"), header("a", "1")}, []kafka.Header{header("a", "1"), header("k", "new")}},
		{"replaces every duplicate", []kafka.Header{header("k", "1"), header("a", "1"), header("K", "2")}, []kafka.Header{header("a", "1"), header("k", "new")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			msg := &kafka.Message{Headers: tt.before}
			carrier{msg}.Set("k", "new")
			assert.Equal(t, tt.want, msg.Headers)
		})
	}
}

func TestCarrierSetLeavesASharedListAlone(t *testing.T) {
	shared := append(make([]kafka.Header, 0, 8), header("k", "old"), header("a", "1"))
	msg := &kafka.Message{Headers: shared}
	carrier{msg}.Set("k", "new")
	assert.Equal(t, []kafka.Header{header("k", "old"), header("a", "1")}, shared)
	assert.Empty(t, shared[:3][2].Key)
}

func TestCarrierForeachKeyStopsAtAnError(t *testing.T) {
	msg := &kafka.Message{Headers: []kafka.Header{header("a", "1"), header("b", "2")}}
	var seen []string
	stop := errors.New("stop")
	err := carrier{msg}.ForeachKey(func(key, value string) error {
		seen = append(seen, key+value)
		return stop
	})
	assert.ErrorIs(t, err, stop)
	assert.Equal(t, []string{"a1"}, seen)
}
