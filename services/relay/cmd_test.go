package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/uber/jaeger-client-go/thrift-gen/jaeger"

	"fault-tolerant-tracing/services/internal/collectortest"
	"fault-tolerant-tracing/services/internal/deadletter"
	"fault-tolerant-tracing/tracing/batch"
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
	t.Setenv(setting(endpoint), endpoint)
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
	letters := make([]deadletter.Letter, len(values))
	for i, value := range values {
		letters[i] = letter(int64(100+i), "jaeger answered 400 Bad Request:\n\x1b[1mno", value)
	}
	d.put(dlq, letters...)
}

// letter is one of a record of tracing-topic 1.
func letter(offset int64, reason string, value []byte) deadletter.Letter {
	return deadletter.Letter{
		Topic: topic, Partition: 1, Offset: offset, Reason: errors.New(reason),
		Key: []byte("client-1"), Value: value, Headers: []kafka.Header{{Key: "own", Value: []byte("kept")}},
	}
}

// put writes letters to a dead-letter topic.
func (d *desk) put(to string, letters ...deadletter.Letter) {
	d.t.Helper()
	producer, err := deadletter.NewProducer(kafkaclient.Cluster{Brokers: []string{d.broker.Addr()}}, slog.New(slog.DiscardHandler))
	require.NoError(d.t, err)
	defer producer.Close(d.t.Context())
	queue := deadletter.New(producer, to)
	for _, letter := range letters {
		require.NoError(d.t, queue.Write(d.t.Context(), letter))
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
		{`invalid argument "localhost:14268" for "--endpoint" flag: must be an absolute http or https URL, such as http://localhost:4318/v1/traces`, []string{"replay", "--since", "1m", "--endpoint", "localhost:14268"}},
		{`unexpected argument "now"`, []string{"replay", "now"}},
		{`a command is missing, one of list, show, redrive, drop`, []string{"dlq"}},
		{`unknown command "delete", there are list, show, redrive, drop`, []string{"dlq", "delete"}},
		{`one offset is needed, as relay dlq list shows it`, []string{"dlq", "show"}},
		{`"first" is no offset: it is a number, as relay dlq list shows it, such as 12, or 3/12 in partition 3`, []string{"dlq", "show", "first"}},
		{`an offset is needed, or several, as relay dlq list shows them`, []string{"dlq", "drop"}},
		{`"all" is no offset: it is a number, as relay dlq list shows it, such as 12, or 3/12 in partition 3`, []string{"dlq", "drop", "all"}},
		{`say OFFSETs or --reason, not both`, []string{"dlq", "redrive", "--reason", "413", "1"}},
		{`tracing-dlq has no record at offset 7: it is empty`, []string{"dlq", "redrive", "7"}},
		{`tracing-dlq has no record at offset 7: it is empty`, []string{"dlq", "show", "7"}},
		{`tracing-dlq has no partition 1, the last one is 0`, []string{"dlq", "drop", "1/0"}},
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
	for _, args := range [][]string{{"dlq", "list"}, {"dlq", "show", "1"}, {"dlq", "redrive"}, {"dlq", "redrive", "--dry-run"}, {"dlq", "drop", "1"}} {
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

// hangUp closes the connection of each post that holds the operation.
func hangUp(operation string) func(http.ResponseWriter, collectortest.Post) {
	return func(_ http.ResponseWriter, p collectortest.Post) {
		if slices.Contains(p.Operations, operation) {
			panic(http.ErrAbortHandler)
		}
	}
}

// The first one makes the collector close the connection: that is no reason to keep
// the others, and neither is one that is no batch.
func TestOneBadRecordDoesNotKeepTheOthers(t *testing.T) {
	for _, bad := range []struct {
		value  []byte
		reason string
	}{
		{newBatch(t, "bad"), "EOF"},
		{append(newBatch(t, "bad"), newBatch(t, "bad")...), "no batch of spans: "},
	} {
		collector := collectortest.Start(t, hangUp("bad"))
		d := newDesk(t, collector.URL())
		values := [][]byte{bad.value}
		for i := range 5 {
			values = append(values, newBatch(t, fmt.Sprint("good-", i)))
		}
		d.setAside(values...)
		for _, value := range values {
			d.produce(&kgo.Record{Topic: topic, Value: value})
		}
		for times, args := range [][]string{{"replay", "--since", "1h"}, {"dlq", "redrive"}} {
			out, stderr, err := d.relay(args...)
			assert.Error(t, err)
			assert.Contains(t, out, "sent 5 records with 5 spans")
			assert.Regexp(t, `(?m)^refused: partition \d, offset 0, [01] spans?: .*`+bad.reason, stderr)
			for i := range 5 {
				assert.Equal(t, times+1, collector.Taken(fmt.Sprint("good-", i)))
			}
		}
		left := d.aside()
		require.Len(t, left, 1)
		assert.Equal(t, bad.value, left[0].Value)
	}
}

// A value of a few bytes that claims so many spans makes Jaeger allocate for them all,
// and of two batches in one value it stores the first. Nobody posts them.
func TestWhatIsNoBatchIsNeverPosted(t *testing.T) {
	process, err := batch.EncodeProcess(&jaeger.Process{ServiceName: "test"})
	require.NoError(t, err)
	values := [][]byte{
		batch.Encode(process, nil, 100_000_000, 1, batch.Stats{}),
		append(newBatch(t, "first"), newBatch(t, "second")...),
	}
	collector := collectortest.Start(t, collectortest.Status(202))
	d := newDesk(t, collector.URL())
	d.setAside(values...)
	for _, value := range values {
		d.produce(&kgo.Record{Topic: topic, Value: value})
	}
	_, _, err = d.relay("replay", "--since", "1h")
	assert.EqualError(t, err, "2 records can never be delivered")
	_, _, err = d.relay("dlq", "redrive")
	assert.EqualError(t, err, "2 records are set aside again")
	require.Len(t, d.aside(), 2)

	r := startRelay(t, collector.URL())
	r.produce(values...)
	r.eventually("both are set aside", func() bool { return r.committed() == 2 })
	require.Len(t, r.setAside(), 2)
	assert.Zero(t, collector.Posts())
}

func TestAllLogInToJaeger(t *testing.T) {
	var taken atomic.Int64
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "me" || password != "secret" {
			w.WriteHeader(401)
			return
		}
		taken.Add(1)
	}))
	t.Cleanup(collector.Close)
	d := newDesk(t, collector.URL+"/api/traces")
	d.setAside(newBatch(t, "a"))
	d.produce(d.record(0, "b"))

	_, _, err := d.relay("replay", "--since", "1h")
	assert.ErrorContains(t, err, "jaeger answered 401 Unauthorized")
	t.Setenv("JAEGER_USER", "me")
	for _, args := range [][]string{{"replay", "--since", "1h"}, {"dlq", "redrive"}} {
		_, _, err := d.relay(args...)
		assert.EqualError(t, err, "a setting is wrong:\n  JAEGER_USER, JAEGER_PASSWORD: must be set both or not at all")
	}
	assert.Zero(t, taken.Load())

	t.Setenv("JAEGER_PASSWORD", "") // put back after the test
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte("secret\n"), 0o600))
	t.Setenv("JAEGER_PASSWORD_FILE", file)
	for i, args := range [][]string{{"replay", "--since", "1h"}, {"dlq", "redrive"}} {
		_, _, err := d.relay(args...)
		require.NoError(t, err)
		assert.EqualValues(t, i+1, taken.Load())
	}
	r := startRelay(t, collector.URL+"/api/traces", "JAEGER_USER=me", "JAEGER_PASSWORD_FILE="+file)
	r.produce(newBatch(t, "c"))
	r.eventually("the relay has logged in", func() bool { return taken.Load() == 3 })
}
