package kafkaadmin

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// lines collects the messages of a logger.
type lines struct {
	mu   sync.Mutex
	text []string
}

func (l *lines) Enabled(context.Context, slog.Level) bool { return true }
func (l *lines) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *lines) WithGroup(string) slog.Handler            { return l }
func (l *lines) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "topics" {
			text += " " + a.Value.String()
		}
		return true
	})
	l.text = append(l.text, text)
	return nil
}

func (l *lines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.text...)
}

func TestWaitForTopicsReadsARenewedCertificate(t *testing.T) {
	t.Parallel()
	authority := tracingtest.NewAuthority(t)
	broker := tracingtest.StartBroker(t, kfake.TLS(authority.ServerTLS(t)), kfake.SeedTopics(1, "number-topic"))
	files := authority.NewPEMFiles(t, time.Now().Add(-time.Second))
	cluster := kafkaclient.Cluster{
		Brokers:         []string{broker.Addr()},
		Security:        kafkaclient.Security{Protocol: "SSL", TLSCAFile: files.CA, TLSCertFile: files.Cert, TLSKeyFile: files.Key},
		RefreshInterval: 50 * time.Millisecond,
	}
	log := &lines{}
	done := make(chan error, 1)
	go func() { done <- WaitForTopics(context.Background(), cluster, slog.New(log), "number-topic") }()
	require.Eventually(t, func() bool { return len(log.all()) > 0 }, 20*time.Second, 10*time.Millisecond)
	assert.Equal(t, "waiting for kafka", log.all()[0])

	authority.Renew(t, files, time.Now().Add(time.Hour))
	select {
	case err := <-done:
		assert.NoError(t, err)
	case <-time.After(20 * time.Second):
		t.Fatal("it goes on waiting")
	}
}

func TestWaitForTopicsTellsEachStateOnce(t *testing.T) {
	t.Parallel()
	broker := tracingtest.StartBroker(t)
	broker.Stop()
	log := &lines{}
	done := make(chan error, 1)
	go func() {
		cluster := kafkaclient.Cluster{Brokers: []string{broker.Addr()}}
		done <- WaitForTopics(context.Background(), cluster, slog.New(log), "number-topic", "even-topic")
	}()
	await := func(want ...string) {
		t.Helper()
		require.Eventually(t, func() bool { return len(log.all()) >= len(want) }, 20*time.Second, 10*time.Millisecond)
		assert.Equal(t, want, log.all())
	}
	await("waiting for kafka")
	require.NoError(t, broker.Start())
	await("waiting for kafka", "waiting for topics number-topic,even-topic")
	awaitAsked(t, broker, 3)
	broker.CreateTopics(t, 1, "even-topic")
	await("waiting for kafka", "waiting for topics number-topic,even-topic", "waiting for topics number-topic")
	broker.CreateTopics(t, 1, "number-topic")
	require.NoError(t, <-done)
	await("waiting for kafka", "waiting for topics number-topic,even-topic", "waiting for topics number-topic",
		"kafka and topics are there number-topic,even-topic")
}

// awaitAsked blocks until the broker was asked n times for its topics.
func awaitAsked(t *testing.T, broker *tracingtest.Broker, n int) {
	t.Helper()
	asked := make(chan struct{}, 1000)
	broker.Cluster().ControlKey(int16(kmsg.Metadata), func(kmsg.Request) (kmsg.Response, error, bool) {
		asked <- struct{}{}
		return nil, nil, false
	})
	for range n {
		select {
		case <-asked:
		case <-time.After(20 * time.Second):
			t.Fatal("the broker is not asked any more")
		}
	}
}

func TestWaitForTopicsCreatesNone(t *testing.T) {
	t.Parallel()
	broker := tracingtest.StartBroker(t)
	admin, err := New(kafkaclient.Cluster{Brokers: []string{broker.Addr()}})
	require.NoError(t, err)
	defer admin.Close()
	for range 3 {
		descriptions, err := admin.Describe(context.Background(), "nowhere")
		require.NoError(t, err)
		assert.Equal(t, []string{"nowhere"}, Missing(descriptions))
	}
	metadata, err := admin.GetMetadata(nil, true, 5000)
	require.NoError(t, err)
	assert.Empty(t, metadata.Topics)
}

func TestWaitForTopicsTellsOfKafkaOnceAndEndsWithTheContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	log := &lines{}
	done := make(chan error, 1)
	go func() {
		done <- WaitForTopics(ctx, kafkaclient.Cluster{Brokers: []string{tracingtest.FreeAddr(t)}}, slog.New(log), "even-topic")
	}()
	require.Eventually(t, func() bool { return len(log.all()) == 1 }, 20*time.Second, 10*time.Millisecond)
	assert.Never(t, func() bool { return len(log.all()) > 1 }, 2*(askTimeout+askAgain), 100*time.Millisecond)
	cancel()
	assert.ErrorIs(t, <-done, context.Canceled)
}
