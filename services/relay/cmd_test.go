package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"fault-tolerant-tracing/services/internal/deadletter"
	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/tracingtest"
)

// desk is where someone types commands.
type desk struct {
	t      *testing.T
	broker *tracingtest.Broker
	client *kgo.Client
	ctx    context.Context // of what is typed
}

func newDesk(t *testing.T, endpoint string) *desk {
	t.Helper()
	d := &desk{t: t, broker: tracingtest.StartBroker(t), ctx: t.Context()}
	d.broker.CreateTopics(t, 2, topic)
	d.broker.CreateTopics(t, 1, dlq)
	var err error
	d.client, err = kgo.NewClient(kgo.SeedBrokers(d.broker.Addr()), kgo.ProducerBatchMaxBytes(2<<20))
	require.NoError(t, err)
	t.Cleanup(d.client.Close)
	t.Setenv("KAFKA_BROKERS", tracingtest.FreeAddr(t)) // the cluster with the data is not asked for anything
	t.Setenv("TRACING_KAFKA_BROKERS", d.broker.Addr())
	t.Setenv("JAEGER_ENDPOINT", endpoint)
	return d
}

// relay runs a command and returns what it printed.
func (d *desk) relay(args ...string) (stdout, stderr string, err error) {
	d.t.Helper()
	root := &cobra.Command{Use: "relay", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(dlqCommand(), replayCommand(), archiveCommand())
	var out, notes bytes.Buffer
	root.SetOut(io.MultiWriter(&out, d.t.Output()))
	root.SetErr(io.MultiWriter(&notes, d.t.Output()))
	root.SetArgs(args)
	err = root.ExecuteContext(d.ctx)
	return out.String(), notes.String(), err
}

// setAside writes records to tracing-dlq as if they came from tracing-topic 1/100
// and on.
func (d *desk) setAside(values ...[]byte) {
	d.t.Helper()
	producer, err := deadletter.NewProducer(kafkaclient.Cluster{Brokers: []string{d.broker.Addr()}}, slog.New(slog.DiscardHandler))
	require.NoError(d.t, err)
	defer producer.Close(d.t.Context())
	queue := deadletter.New(producer, dlq)
	for i, value := range values {
		require.NoError(d.t, queue.Write(d.t.Context(), deadletter.Letter{
			Topic: topic, Partition: 1, Offset: int64(100 + i), Reason: errors.New("jaeger answered 400 Bad Request:\n\x1b[1mno"),
			Key: []byte("client-1"), Value: value, Headers: []kafka.Header{{Key: "own", Value: []byte("kept")}},
		}))
	}
}

func (d *desk) produce(records ...*kgo.Record) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	require.NoError(d.t, d.client.ProduceSync(ctx, records...).FirstErr())
}

// aside reads tracing-dlq.
func (d *desk) aside() []*kgo.Record {
	d.t.Helper()
	return tracingtest.ReadTopic(d.t, d.broker.Addr(), dlq, 0)
}

// Whatever is typed wrongly gives one sentence that says what would be right.
func TestBadInputIsOneSentence(t *testing.T) {
	d := newDesk(t, "http://localhost:14268/api/traces")
	for _, tt := range []struct {
		want string
		args []string
	}{
		{`invalid argument "soon" for "--from" flag: must be a time, as 2006-01-02T15:04:05Z or, local, "2006-01-02 15:04:05"`, []string{"replay", "--from", "soon"}},
		{`invalid argument "2026-13-01 00:00:00" for "--to" flag: must be a time, as 2006-01-02T15:04:05Z or, local, "2006-01-02 15:04:05"`, []string{"replay", "--to", "2026-13-01 00:00:00"}},
		{`invalid argument "7d" for "--since" flag: time: unknown unit "d" in duration "7d"`, []string{"replay", "--since", "7d"}},
		{`--since must be above zero`, []string{"replay", "--since", "-1m"}},
		{`--since goes without --from and --to`, []string{"replay", "--since", "1m", "--to", "2026-01-01 00:00:00"}},
		{`--from must be before --to`, []string{"replay", "--from", "2026-01-01T00:00:00Z", "--to", "2026-01-01T00:00:00Z"}},
		{`say what to send: --since, --from, --trace or --archive`, []string{"replay"}},
		{`invalid argument "xyz" for "--trace" flag: "xyz" is no trace id: it has up to 32 hexadecimal digits, not all of them 0`, []string{"replay", "--trace", "xyz"}},
		{`invalid argument "localhost:14268" for "--jaeger" flag: must be an absolute http or https URL, such as http://localhost:14268/api/traces`, []string{"replay", "--since", "1m", "--jaeger", "localhost:14268"}},
		{`unexpected argument "now"`, []string{"replay", "now"}},
		{`a command is missing, one of list, show, redrive`, []string{"dlq"}},
		{`unknown command "drop", there are list, show, redrive`, []string{"dlq", "drop"}},
		{`one offset is needed, as relay dlq list shows it`, []string{"dlq", "show"}},
		{`"first" is no offset: it is a number, as relay dlq list shows it, such as 12, or 3/12 in partition 3`, []string{"dlq", "show", "first"}},
		{`tracing-dlq has no record at offset 7: it is empty`, []string{"dlq", "show", "7"}},
		{`tracing-dlq has no partition 1, the last one is 0`, []string{"dlq", "show", "1/0"}},
	} {
		_, _, err := d.relay(tt.args...)
		assert.EqualError(t, err, tt.want)
	}
}

func TestNoTopicAndNoKafkaAreOneSentence(t *testing.T) {
	d := newDesk(t, "http://localhost:14268/api/traces")
	t.Setenv("TRACING_TOPIC", "other-topic")
	t.Setenv("TRACING_DLQ", "other-dlq")
	for _, args := range [][]string{{"dlq", "list"}, {"dlq", "show", "1"}, {"dlq", "redrive"}, {"dlq", "redrive", "--dry-run"}} {
		_, _, err := d.relay(args...)
		assert.EqualError(t, err, "kafka at "+d.broker.Addr()+" has no topic other-dlq")
	}
	_, _, err := d.relay("replay", "--since", "1m")
	assert.EqualError(t, err, "kafka at "+d.broker.Addr()+" has no topic other-topic")

	d.broker.Stop()
	begin := time.Now()
	_, _, err = d.relay("dlq", "list")
	assert.ErrorContains(t, err, "kafka at "+d.broker.Addr()+" does not answer: ")
	assert.Less(t, time.Since(begin), 2*patience/3)
}
