package kafkaclient

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

const soon = 50 * time.Millisecond // instead of DefaultRefreshInterval

// logged is a Producer and what it has logged.
type logged struct {
	*Producer
	log *tracingtest.Log
}

func startProducer(t *testing.T, broker string, s Security) logged {
	t.Helper()
	out := new(tracingtest.Log)
	p, err := NewProducer(Cluster{Brokers: []string{broker}, Security: s, RefreshInterval: soon}, slog.New(slog.NewTextHandler(out, nil)), nil)
	require.NoError(t, err)
	t.Cleanup(func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = p.Close(ended)
		if t.Failed() {
			t.Log(out.String())
		}
	})
	return logged{p, out}
}

func (p logged) await(t *testing.T, text string) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(p.log.String(), text) }, 20*time.Second, 5*time.Millisecond, text)
}

// insist sends a message until it is delivered, as callers do.
func (p logged) insist(t *testing.T, value string) {
	t.Helper()
	require.Eventually(t, func() bool {
		_, err := p.Send(within(t, 20*time.Second), message(value))
		return err == nil
	}, 20*time.Second, time.Millisecond)
}

func clientOf(f tracingtest.PEMFiles) Security {
	return Security{Protocol: "SSL", TLSCAFile: f.CA, TLSCertFile: f.Cert, TLSKeyFile: f.Key}
}

// valuesOn reads a broker that a.ClientTLS gets into.
func valuesOn(t *testing.T, broker string, a *tracingtest.Authority, want int) []string {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.DialTLSConfig(a.ClientTLS(t)), kgo.ConsumeTopics(topic))
	require.NoError(t, err)
	defer client.Close()
	var values []string
	for len(values) < want {
		fetches := client.PollFetches(within(t, 20*time.Second))
		require.NoError(t, fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) { values = append(values, string(r.Value)) })
	}
	return values
}

func TestARenewedCertificateIsUsed(t *testing.T) {
	t.Parallel()
	a := tracingtest.NewAuthority(t)
	broker := newBroker(t, kfake.TLS(a.ServerTLS(t)))
	files := a.NewPEMFiles(t, time.Now().Add(-time.Second))
	p := startProducer(t, broker, clientOf(files))
	reports := make(chan error, 1)
	require.NoError(t, p.Produce(message("0"), func(_ kafka.TopicPartition, err error) { reports <- err }))
	p.await(t, "certificate expired") // and nothing but a new client helps

	a.Renew(t, files, time.Now().Add(time.Hour))
	p.insist(t, "1")
	assert.ErrorContains(t, <-reports, "TLS files have changed", "its caller has to send it again")
	assert.Equal(t, []string{"1"}, valuesOn(t, broker, a, 1))
}

func TestRenewalLosesDoublesAndReordersNothing(t *testing.T) {
	t.Parallel()
	a := tracingtest.NewAuthority(t)
	broker := newBroker(t, kfake.TLS(a.ServerTLS(t)))
	files := a.NewPEMFiles(t, time.Now().Add(time.Hour))
	p := startProducer(t, broker, clientOf(files))
	var want []string
	const renewals = 3
	began := time.Now()
	for replaced := 0; replaced < renewals; {
		require.Less(t, time.Since(began), 20*time.Second)
		if n := strings.Count(p.log.String(), "replacing the kafka producer"); n > replaced || len(want) == 0 {
			replaced = n
			a.Renew(t, files, time.Now().Add(time.Hour))
		}
		value := strconv.Itoa(len(want))
		err := p.Produce(message(value), func(_ kafka.TopicPartition, err error) { assert.NoError(t, err) })
		if hasCode(err, kafka.ErrQueueFull) {
			continue
		}
		require.NoError(t, err)
		want = append(want, value)
	}
	require.NoError(t, p.Close(within(t, 20*time.Second)))
	assert.Equal(t, want, valuesOn(t, broker, a, len(want)))
}

func TestFilesThatDoNotFitEachOtherAreLeftAlone(t *testing.T) {
	t.Parallel()
	a := tracingtest.NewAuthority(t)
	files := a.NewPEMFiles(t, time.Now().Add(time.Hour))
	p := startProducer(t, newBroker(t, kfake.TLS(a.ServerTLS(t))), clientOf(files))
	cert, key := a.Issue(t, time.Now().Add(time.Hour))

	tracingtest.WriteFile(t, files.Cert, cert)
	p.await(t, "cannot be used")
	p.insist(t, "1")
	time.Sleep(4 * soon) // for more warnings, which must not come
	assert.Equal(t, 1, strings.Count(p.log.String(), "cannot be used"))
	assert.NotContains(t, p.log.String(), "replacing")

	tracingtest.WriteFile(t, files.Key, key)
	p.await(t, "replacing")
	p.insist(t, "2")
}

func TestAChangedPasswordIsUsed(t *testing.T) {
	t.Parallel()
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256"} {
		t.Run(mechanism, func(t *testing.T) {
			t.Parallel()
			broker := newBroker(t, kfake.EnableSASL(), kfake.Superuser(mechanism, "tracer", "new"))
			file := filepath.Join(t.TempDir(), "password")
			tracingtest.WriteFile(t, file, []byte("old\n"))
			p := startProducer(t, broker, Security{
				Protocol: "SASL_PLAINTEXT", SASLMechanism: mechanism, SASLUsername: "tracer", SASLPassword: "of the start", SASLPasswordFile: file,
			})
			p.await(t, "SASL authentication error")
			tracingtest.WriteFile(t, file, nil)
			p.await(t, "no password in")
			tracingtest.WriteFile(t, file, []byte("new\n"))
			p.insist(t, "1")
			assert.NotContains(t, p.log.String(), "replacing", "it goes on with the same client")

			p.current.kp.TestFatalError(kafka.ErrOutOfOrderSequenceNumber, "made up")
			p.await(t, "failed for good")
			p.insist(t, "2") // by another client, made with the new password
		})
	}
}

// noLogin is a client that takes no other password.
type noLogin struct{}

func (noLogin) SetSaslCredentials(string, string) error { return errors.New("no") }

func TestRefresh(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "password")
	tracingtest.WriteFile(t, file, []byte("old"))
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	cluster := Cluster{Security: Security{SASLPasswordFile: file}, RefreshInterval: time.Nanosecond}
	c := cluster.Credentials(log)
	assert.False(t, c.Refresh(nil))
	tracingtest.WriteFile(t, file, []byte("new"))
	assert.True(t, c.Refresh(nil), "without a client that can be told")
	assert.False(t, c.Refresh(noLogin{}))
	assert.False(t, c.Refresh(noLogin{}))
	assert.Equal(t, 1, strings.Count(out.String(), "WARN"))

	cluster.RefreshInterval = 0
	c = cluster.Credentials(log)
	tracingtest.WriteFile(t, file, []byte("newer"))
	assert.False(t, c.Refresh(nil), "it has looked just now")
	c.looked = time.Now().Add(-DefaultRefreshInterval)
	assert.True(t, c.Refresh(nil))
}

func TestNewPartitionsAreSeen(t *testing.T) {
	t.Parallel()
	broker := newBroker(t)
	conf := Cluster{Brokers: []string{broker}, RefreshInterval: soon}.ConfigMap()
	conf["group.id"], conf["auto.offset.reset"] = "readers", "earliest"
	consumer, err := kafka.NewConsumer(&conf)
	require.NoError(t, err)
	defer func() { assert.NoError(t, consumer.Close()) }()
	go ForwardLogs(consumer.Logs(), slog.New(slog.DiscardHandler))
	require.NoError(t, consumer.Subscribe(topic, nil))
	assigned := func(want int) {
		t.Helper()
		require.Eventually(t, func() bool {
			consumer.Poll(1)
			partitions, err := consumer.Assignment()
			return err == nil && len(partitions) == want
		}, 20*time.Second, time.Millisecond)
	}
	assigned(1)

	admin, err := kgo.NewClient(kgo.SeedBrokers(broker))
	require.NoError(t, err)
	defer admin.Close()
	_, err = kadm.NewClient(admin).UpdatePartitions(t.Context(), 4, topic)
	require.NoError(t, err)
	assigned(4)
}

// What a connection's silent end costs is counted in these.
func TestConnectionsDoNotWaitForLong(t *testing.T) {
	m := Cluster{Brokers: []string{"a:9092"}}.ConfigMap()
	assert.Equal(t, 10_000, m["socket.timeout.ms"])
	assert.Equal(t, 10_000, m["socket.connection.setup.timeout.ms"])
	assert.Equal(t, true, m["socket.keepalive.enable"])
	assert.Equal(t, 15_000, m["topic.metadata.refresh.interval.ms"])
}
