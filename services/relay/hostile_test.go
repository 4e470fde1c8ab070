package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/uber/jaeger-client-go/thrift-gen/jaeger"

	"fault-tolerant-tracing/services/internal/collectortest"
	"fault-tolerant-tracing/services/internal/deadletter"
)

// hostile clears a screen, sets a title, turns around what follows, and hides.
const hostile = "x\x1b[2J\x1b]0;y\a\u009b31m\u202egpj.\u2066\u200b\r\nrelay: all is well\U000e0041\x7f"

func hostileBatch(t *testing.T) []byte {
	text := hostile
	tag := jaeger.Tag{Key: hostile, VType: jaeger.TagType_STRING, VStr: &text}
	span := newSpan(hostile, &tag)
	span.Logs = []*jaeger.Log{{Timestamp: 1, Fields: []*jaeger.Tag{&tag}}}
	return encode(t, hostile, span)
}

// Whoever may write to a topic steers no terminal of those who look at it.
func TestNothingInARecordSteersATerminal(t *testing.T) {
	collector := collectortest.Start(t, func(w http.ResponseWriter, _ collectortest.Post) {
		http.Error(w, hostile, http.StatusBadRequest)
	})
	d := newDesk(t, collector.URL())
	headers := []kgo.RecordHeader{
		{Key: deadletter.HeaderTopic, Value: []byte(hostile)}, {Key: deadletter.HeaderReason, Value: []byte(hostile)},
		{Key: hostile, Value: []byte(hostile)}, {Key: deadletter.HeaderPartition, Value: []byte("0")}, {Key: deadletter.HeaderOffset, Value: []byte("0")},
	}
	cut := append([]kgo.RecordHeader{{Key: deadletter.HeaderTruncated, Value: []byte("true")}, {Key: deadletter.HeaderBytes, Value: []byte("9")}}, headers...)
	d.broker.CreateTopics(t, 1, "number-dlq")
	t.Setenv("KAFKA_BROKERS", d.broker.Addr())
	for _, to := range []string{dlq, topic, "number-dlq"} {
		for _, value := range [][]byte{hostileBatch(t), []byte(hostile)} {
			d.produce(&kgo.Record{Topic: to, Key: []byte(hostile), Value: value, Headers: headers}, &kgo.Record{Topic: to, Value: value, Headers: cut})
		}
	}
	for _, command := range []string{
		"dlq list", "dlq list --json", "dlq show 0", "dlq show 1", "dlq show 2", "dlq show 3", "dlq show 0 --json", "dlq show 2 --json",
		"dlq list --topic number-dlq", "dlq show 2 --topic number-dlq", "dlq redrive --topic number-dlq", "replay --since 1h --dry-run",
		"replay --since 1h", "dlq redrive",
	} {
		stdout, stderr, _ := d.relay(strings.Split(command, " ")...)
		assert.NotEmpty(t, stdout+stderr, command)
		assertPlain(t, command, stdout+stderr)
		if strings.HasSuffix(command, "--json") {
			var first any
			require.NoError(t, json.NewDecoder(strings.NewReader(stdout)).Decode(&first), command)
			text, err := json.Marshal(first)
			require.NoError(t, err)
			want, err := json.Marshal(hostile)
			require.NoError(t, err)
			assert.Contains(t, string(text), string(want), "%s: JSON keeps what it means", command)
		}
	}
}

func TestNothingInAnAnswerSteersWhoLooksAtTheRelay(t *testing.T) {
	collector := collectortest.Start(t, func(w http.ResponseWriter, _ collectortest.Post) {
		w.Header().Set("Location", "/\u202egpj.") // net/http lets no control characters through
		http.Error(w, hostile, http.StatusFound)
	})
	r := startRelay(t, collector.URL())
	r.produce(hostileBatch(t))
	ask := func(path string) string {
		resp, err := http.Get("http://" + r.addr + path)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return string(body)
	}
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	r.eventually("it is refused", func() bool { return strings.Contains(ask("/status"), "302") })
	assertPlain(t, "/status", ask("/status"))
	r.eventually("it holds", func() bool { return strings.Contains(ask("/"), "302") })
	assertPlain(t, "/", ask("/"))
}

// assertPlain fails for what cannot be seen, and for lines that only hostile text begins.
func assertPlain(t *testing.T, what, text string) {
	t.Helper()
	for _, r := range text {
		if !strconv.IsPrint(r) && r != '\n' {
			t.Errorf("%s tells %U: %q", what, r, text)
			return
		}
	}
	assert.NotContains(t, text, "\nrelay: all is well", what)
}
