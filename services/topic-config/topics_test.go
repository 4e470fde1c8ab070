package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"fault-tolerant-tracing/services/internal/service"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestMain(m *testing.M) { tracingtest.VerifyMain(m) }

// allTopics are those of design, with what each must have.
var allTopics = map[string]struct {
	partitions          int
	retention, maxBytes string // in ms; in bytes, "" for the broker's default
}{
	"number-topic":   {3, "604800000", ""},
	"odd-topic":      {3, "604800000", ""},
	"even-topic":     {3, "604800000", ""},
	"sentence-topic": {3, "604800000", ""},
	"answer-topic":   {3, "604800000", ""},
	"tracing-topic":  {6, "604800000", ""},
	"number-dlq":     {1, "2592000000", "2097152"},
	"even-dlq":       {1, "2592000000", "2097152"},
	"sentence-dlq":   {1, "2592000000", "2097152"},
	"answer-dlq":     {1, "2592000000", "2097152"},
	"tracing-dlq":    {1, "2592000000", "2097152"},
}

func newConfig(t *testing.T, environ ...string) config {
	t.Helper()
	var cfg config
	require.NoError(t, service.Load(&cfg, environ))
	return cfg
}

// runConfig runs the program and returns the lines of its log.
func runConfig(ctx context.Context, cfg config) ([]map[string]any, error) {
	var buffer tracingtest.Log
	err := run(ctx, cfg, slog.New(slog.NewJSONHandler(&buffer, nil)))
	var lines []map[string]any
	for d := json.NewDecoder(strings.NewReader(buffer.String())); d.More(); {
		line := map[string]any{}
		if err := d.Decode(&line); err != nil {
			panic(err)
		}
		lines = append(lines, line)
	}
	return lines, err
}

// warnings returns the program's own, without those of librdkafka.
func warnings(lines []map[string]any) []map[string]any {
	var list []map[string]any
	for _, line := range lines {
		if line["level"] == "WARN" && line["msg"] != "librdkafka" {
			line = maps.Clone(line)
			delete(line, "time")
			delete(line, "level")
			list = append(list, line)
		}
	}
	return list
}

// topicConfig returns a setting of a topic that is not the broker's default.
func topicConfig(t *testing.T, admin *kadm.Client, topic, key string) string {
	t.Helper()
	configs, err := admin.DescribeTopicConfigs(context.Background(), topic)
	require.NoError(t, err)
	config, err := configs.On(topic, nil)
	require.NoError(t, err)
	i := slices.IndexFunc(config.Configs, func(c kadm.Config) bool { return c.Key == key && c.Source == kmsg.ConfigSourceDynamicTopicConfig })
	if i < 0 {
		return ""
	}
	return config.Configs[i].MaybeValue()
}

func TestEveryTopicIsMadeAsDesigned(t *testing.T) {
	t.Parallel()
	broker := tracingtest.StartBroker(t)
	lines, err := runConfig(context.Background(), newConfig(t, "KAFKA_BROKERS="+broker.Addr()))
	require.NoError(t, err)
	assert.Empty(t, warnings(lines))
	admin := broker.Admin(t)
	topics, err := admin.ListTopics(context.Background())
	require.NoError(t, err)
	assert.Len(t, topics, len(allTopics))
	for name, want := range allTopics {
		assert.Len(t, topics[name].Partitions, want.partitions, name)
		assert.Equal(t, want.retention, topicConfig(t, admin, name, "retention.ms"), name)
		assert.Equal(t, want.maxBytes, topicConfig(t, admin, name, "max.message.bytes"), name)
	}
}

func TestASecondRunChangesNothing(t *testing.T) {
	t.Parallel()
	broker := tracingtest.StartBroker(t)
	cfg := newConfig(t, "KAFKA_BROKERS="+broker.Addr())
	_, err := runConfig(context.Background(), cfg)
	require.NoError(t, err)
	lines, err := runConfig(context.Background(), cfg)
	require.NoError(t, err)
	assert.Empty(t, warnings(lines))
	for _, line := range lines {
		assert.NotEqual(t, "topic created", line["msg"])
	}
}

func TestOtherSettingsAreReportedAndLeft(t *testing.T) {
	t.Parallel()
	broker := tracingtest.StartBroker(t)
	admin := broker.Admin(t)
	hour, small := "3600000", "1000"
	_, err := admin.CreateTopic(context.Background(), 5, 1, map[string]*string{"retention.ms": &hour}, "even-topic")
	require.NoError(t, err)
	_, err = admin.CreateTopic(context.Background(), 1, 1, map[string]*string{"retention.ms": &hour, "max.message.bytes": &small}, "even-dlq")
	require.NoError(t, err)

	lines, err := runConfig(context.Background(), newConfig(t, "KAFKA_BROKERS="+broker.Addr(), "DLQ_RETENTION=1h"))
	require.NoError(t, err)
	const message = "topic has another setting than wanted, left as it is"
	assert.Equal(t, []map[string]any{
		{"msg": message, "topic": "even-topic", "setting": "partitions", "has": "5", "want": "3"},
		{"msg": message, "topic": "even-topic", "setting": "retention.ms", "has": "3600000", "want": "604800000"},
		{"msg": message, "topic": "even-dlq", "setting": "max.message.bytes", "has": "1000", "want": "2097152"},
	}, warnings(lines))
	assert.Equal(t, hour, topicConfig(t, admin, "even-topic", "retention.ms"))
	assert.Equal(t, small, topicConfig(t, admin, "even-dlq", "max.message.bytes"))
}

func TestItWaitsForKafka(t *testing.T) {
	t.Parallel()
	broker := tracingtest.StartBroker(t)
	broker.Stop()
	started := make(chan struct{})
	type outcome struct {
		lines []map[string]any
		err   error
	}
	done := make(chan outcome, 1)
	cfg := newConfig(t, "KAFKA_BROKERS="+broker.Addr())
	go func() {
		close(started)
		lines, err := runConfig(context.Background(), cfg)
		done <- outcome{lines, err}
	}()
	<-started
	awaitKnock(t, broker.Addr())
	require.NoError(t, broker.Start())
	got := <-done
	require.NoError(t, got.err)
	// At most once for each thing that kept it waiting.
	for _, w := range warnings(got.lines) {
		assert.Equal(t, "waiting for kafka", w["msg"])
	}
	assert.LessOrEqual(t, len(warnings(got.lines)), 2)
}

// awaitKnock blocks until somebody has tried to connect to addr.
func awaitKnock(t *testing.T, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	conn, err := l.Accept()
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.NoError(t, l.Close())
}

func TestARefusedTopicIsAnErrorThatNamesIt(t *testing.T) {
	t.Parallel()
	broker := tracingtest.StartBroker(t)
	_, err := runConfig(context.Background(), newConfig(t, "KAFKA_BROKERS="+broker.Addr(), "TOPIC_REPLICATION=3", "SHUTDOWN_TIMEOUT=1s"))
	require.Error(t, err)
	assert.Contains(t, err.Error(), "create odd-topic: ")
}

func TestATemporaryRefusalIsTriedAgain(t *testing.T) {
	t.Parallel()
	broker := tracingtest.StartBroker(t)
	answerOnce(broker, kerr.ThrottlingQuotaExceeded)
	lines, err := runConfig(context.Background(), newConfig(t, "KAFKA_BROKERS="+broker.Addr()))
	require.NoError(t, err)
	require.NotEmpty(t, warnings(lines))
	assert.Equal(t, "could not create a topic, trying again", warnings(lines)[0]["msg"])
}

func TestATopicThatAnotherRunMakesAtTheSameTimeIsNoNews(t *testing.T) {
	t.Parallel()
	broker := tracingtest.StartBroker(t)
	answerOnce(broker, kerr.TopicAlreadyExists)
	lines, err := runConfig(context.Background(), newConfig(t, "KAFKA_BROKERS="+broker.Addr()))
	require.NoError(t, err)
	assert.Empty(t, warnings(lines))
}

// answerOnce answers the next request to create topics with an error for each.
func answerOnce(broker *tracingtest.Broker, answer *kerr.Error) {
	broker.Cluster().ControlKey(int16(kmsg.CreateTopics), func(r kmsg.Request) (kmsg.Response, error, bool) {
		req := r.(*kmsg.CreateTopicsRequest)
		resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
		for _, topic := range req.Topics {
			t := kmsg.NewCreateTopicsResponseTopic()
			t.Topic, t.ErrorCode = topic.Topic, answer.Code
			resp.Topics = append(resp.Topics, t)
		}
		return resp, nil, true
	})
}

func TestStoppingEarlyIsNoSuccess(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err := runConfig(ctx, newConfig(t, "KAFKA_BROKERS="+tracingtest.FreeAddr(t), "SHUTDOWN_TIMEOUT=1s"))
	require.Error(t, err)
	assert.Contains(t, err.Error(), "stopped before every topic was there")
	assert.NotErrorIs(t, err, context.Canceled)
}

func TestTracingMayHaveAClusterOfItsOwn(t *testing.T) {
	t.Parallel()
	data, spans := tracingtest.StartBroker(t), tracingtest.StartBroker(t)
	cfg := newConfig(t, "KAFKA_BROKERS="+data.Addr(), "TRACING_KAFKA_BROKERS="+spans.Addr())
	_, err := runConfig(context.Background(), cfg)
	require.NoError(t, err)
	topics, err := spans.Admin(t).ListTopics(context.Background())
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{"tracing-topic", "tracing-dlq"}, topics.Names())
	topics, err = data.Admin(t).ListTopics(context.Background())
	require.NoError(t, err)
	assert.Len(t, topics, len(allTopics)-2)
}

func TestARunIsATrace(t *testing.T) {
	t.Parallel()
	broker := tracingtest.StartBroker(t)
	broker.CreateTopics(t, 3, "even-topic")
	_, err := runConfig(context.Background(), newConfig(t, "KAFKA_BROKERS="+broker.Addr()))
	require.NoError(t, err)

	spans := tracingtest.SpansOnTopic(t, broker.Addr(), "tracing-topic", 1+len(allTopics))
	require.Len(t, spans, 1+len(allTopics))
	i := slices.IndexFunc(spans, func(s tracingtest.Span) bool { return s.ParentID == "" })
	require.GreaterOrEqual(t, i, 0)
	root := spans[i]
	assert.Equal(t, "create topics", root.Operation)
	for _, s := range slices.Delete(spans, i, i+1) {
		topic, _ := s.Tags["message_bus.destination"].(string)
		assert.Contains(t, allTopics, topic)
		assert.Equal(t, "create "+topic, s.Operation)
		assert.Equal(t, "topic-config", s.Service)
		assert.Equal(t, root.ID, s.ParentID)
		assert.Equal(t, root.TraceID, s.TraceID)
		assert.Equal(t, topic != "even-topic", s.Tags["created"], topic)
		assert.False(t, s.Start.Before(root.Start))
		assert.LessOrEqual(t, s.Start.Add(s.Duration), root.Start.Add(root.Duration))
	}
}

func TestHealthCheckNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	broker := tracingtest.StartBroker(t)
	cfg := newConfig(t, "KAFKA_BROKERS="+broker.Addr())
	broker.CreateTopics(t, 1, "number-topic", "odd-topic", "even-topic", "sentence-topic", "answer-topic", "tracing-topic", "tracing-dlq")
	assert.EqualError(t, cfg.HealthCheck(context.Background()), "missing topics: number-dlq, even-dlq, sentence-dlq, answer-dlq")
	broker.CreateTopics(t, 1, "number-dlq", "even-dlq", "sentence-dlq", "answer-dlq")
	assert.NoError(t, cfg.HealthCheck(context.Background()))
	broker.Stop()
	assert.ErrorContains(t, cfg.HealthCheck(context.Background()), "ask "+broker.Addr()+" for its topics: "+broker.Addr()+"/")
}
