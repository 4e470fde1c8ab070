package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"fault-tolerant-tracing/services/internal/service"
	"fault-tolerant-tracing/tracing/tracingtest"
)

func TestMain(m *testing.M) { tracingtest.VerifyMain(m) }

const patience = 30 * time.Second

// start runs a console and returns its address.
func start(t *testing.T, settings ...string) (url string) {
	t.Helper()
	addr := tracingtest.FreeAddr(t)
	var cfg config
	away := "http://" + tracingtest.FreeAddr(t)
	require.NoError(t, service.Load(&cfg, append([]string{
		"HTTP_ADDR=" + addr, "RELAY_URL=" + away, "RANDOM_URL=" + away, "JAEGER_QUERY_URL=" + away, "KAFKA_BROKERS=" + tracingtest.FreeAddr(t),
	}, settings...)))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx, cfg, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	require.Eventually(t, func() bool {
		resp, err := http.Get("http://" + addr + "/healthz")
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil
	}, patience, 10*time.Millisecond)
	return "http://" + addr
}

// await returns the first state that is as it should be.
func await(t *testing.T, url string, right func(state) bool) state {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/events", nil)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	last := ""
	for event := ""; ; {
		line, err := lines.ReadString('\n')
		require.NoError(t, err, last)
		if name, ok := strings.CutPrefix(line, "event: "); ok {
			event = strings.TrimSpace(name)
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok && event == "state" {
			var s state
			last = data
			require.NoError(t, json.Unmarshal([]byte(data), &s))
			if right(s) {
				return s
			}
		}
	}
}

func TestItSaysWhatIsAway(t *testing.T) {
	t.Parallel()
	s := await(t, start(t), func(s state) bool { return s.Kafka.Error != "" })
	assert.False(t, s.Kafka.Up || s.Jaeger.Up || s.Relay.Up)
	for _, p := range s.Parts {
		assert.False(t, p.Up, p.Name)
	}
	assert.Nil(t, s.Demo)
}

func TestItShowsWhatLiesOnTheTopics(t *testing.T) {
	t.Parallel()
	broker := tracingtest.StartBroker(t)
	broker.CreateTopics(t, 1, "number-topic", "even-topic", "odd-topic", "sentence-topic", "answer-topic", "number-dlq", "even-dlq", "sentence-dlq",
		"answer-dlq", "tracing-topic", "tracing-dlq")
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()))
	require.NoError(t, err)
	defer client.Close()
	url := start(t, "KAFKA_BROKERS="+broker.Addr())
	require.NoError(t, client.ProduceSync(t.Context(),
		&kgo.Record{Topic: "number-topic", Value: []byte("6")}, &kgo.Record{Topic: "number-topic", Value: []byte("7")},
		&kgo.Record{
			Topic: "answer-topic", Value: []byte(`{"completeSentence":"6 + 1 = 7"}`),
			Headers: []kgo.RecordHeader{{Key: "uber-trace-id", Value: []byte("1a:b:0:1")}},
		},
		&kgo.Record{Topic: "answer-topic", Value: []byte("<script>")},
		&kgo.Record{Topic: "tracing-topic", Value: []byte("garbage")},
		&kgo.Record{Topic: "tracing-dlq", Value: []byte("garbage"), Headers: []kgo.RecordHeader{
			{Key: "dlq.topic", Value: []byte("tracing-topic")}, {Key: "dlq.partition", Value: []byte("3")}, {Key: "dlq.offset", Value: []byte("9")},
			{Key: "dlq.reason", Value: []byte(strings.Repeat("r", 10_000))},
		}},
	).FirstErr())
	s := await(t, url, func(s state) bool {
		return len(s.Answers) == 2 && len(s.Letters) == 1 && s.Topics["number-topic"].Records == 2
	})
	assert.EqualValues(t, 2, s.Topics["number-topic"].Lag)
	assert.Zero(t, s.Topics["answer-topic"].Lag, "nobody reads it")
	texts := map[string]string{}
	for _, a := range s.Answers {
		texts[a.Text] = a.Trace
	}
	assert.Equal(t, map[string]string{"6 + 1 = 7": "000000000000001a", "a record that is no answer": ""}, texts)
	assert.Equal(t, "tracing-topic/3/9", s.Letters[0].From)
	assert.Equal(t, strings.Repeat("r", 200)+"…", s.Letters[0].Reason)
}

func TestOnlyItsOwnPageMayAct(t *testing.T) {
	t.Parallel()
	url := start(t, "CONTROL_SOCKET=/nowhere")
	page := get(t, url)
	token := regexp.MustCompile(`name="token" content="([A-Z2-7]{26})"`).FindStringSubmatch(page)
	require.NotNil(t, token)
	for _, tt := range []struct {
		name   string
		header map[string]string
		status int
		says   string
	}{
		{"no token", nil, http.StatusForbidden, "load it again"},
		{"another token", map[string]string{tokenHeader: "x"}, http.StatusForbidden, "load it again"},
		{"another site", map[string]string{tokenHeader: token[1], "Sec-Fetch-Site": "cross-site"}, http.StatusForbidden, "cross-origin"},
		{"another origin", map[string]string{tokenHeader: token[1], "Origin": "http://elsewhere.example"}, http.StatusForbidden, "cross-origin"},
		{"another name", map[string]string{tokenHeader: token[1], "Host": "elsewhere.example"}, http.StatusForbidden, "this machine only"},
		{"its own", map[string]string{tokenHeader: token[1]}, http.StatusConflict, "the demo does not answer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/actions/poison", nil)
			require.NoError(t, err)
			for name, value := range tt.header {
				req.Header.Set(name, value)
			}
			if host := tt.header["Host"]; host != "" {
				req.Host = host
			}
			resp, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.Equal(t, tt.status, resp.StatusCode)
			assert.Contains(t, string(text), tt.says)
		})
	}
}

func TestWithoutADemoItShowsCommands(t *testing.T) {
	t.Parallel()
	page := get(t, start(t))
	assert.Contains(t, page, "docker compose stop jaeger")
	assert.NotContains(t, page, "<button")
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(text)
}
