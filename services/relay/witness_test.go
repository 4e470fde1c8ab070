package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fault-tolerant-tracing/services/internal/collector"
	"fault-tolerant-tracing/services/internal/jaeger"
	"fault-tolerant-tracing/services/internal/service"
)

const testWindow = 100 * time.Millisecond

// startWitness starts a witness that watches what serves at an address.
func startWitness(t *testing.T, address string) *witness {
	t.Helper()
	endpoint, err := url.Parse(address)
	require.NoError(t, err)
	cfg := collector.OTLP(*endpoint)
	posts := collector.New(cfg)
	t.Cleanup(posts.Close)
	cfg.Once = true
	w := newWitness(posts, func() *collector.Collector { return collector.New(cfg) }, testWindow)
	t.Cleanup(w.close)
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() { w.watch(ctx) })
	t.Cleanup(watching.Wait)
	t.Cleanup(cancel)
	return w
}

func TestWhatAJaegerThatLivesOnHasTakenIsStored(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(server.Close)
	w := startWitness(t, server.URL)
	for range 3 {
		require.NoError(t, w.Post(t.Context(), []byte("spans")))
		began := time.Now()
		require.NoError(t, w.Flush(t.Context()))
		assert.GreaterOrEqual(t, time.Since(began), testWindow)
	}
}

func TestWhatAJaegerThatEndsHasJustTakenMayBeLost(t *testing.T) {
	t.Parallel()
	var down atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if down.Load() {
			panic(http.ErrAbortHandler)
		}
	}))
	t.Cleanup(server.Close)
	w := startWitness(t, server.URL)

	t.Log("another process is at its address at once")
	require.NoError(t, w.Post(t.Context(), []byte("spans")))
	server.CloseClientConnections()
	require.ErrorIs(t, w.Flush(t.Context()), errLost)
	postAgain(t, w)
	require.NoError(t, w.Flush(t.Context()))

	t.Log("it is away, and nothing is asked of it meanwhile")
	require.NoError(t, w.Post(t.Context(), []byte("spans")))
	down.Store(true)
	require.ErrorIs(t, w.Flush(t.Context()), errLost)
	require.Error(t, w.Post(t.Context(), []byte("spans again")))

	t.Log("it is back, and all that it had taken before was verified")
	down.Store(false)
	postAgain(t, w)
	require.NoError(t, w.Flush(t.Context()))
	down.Store(true) // it connects again at once otherwise
	server.CloseClientConnections()
	require.Eventually(t, func() bool { return w.current() == nil }, patience, time.Millisecond)
	down.Store(false)
	require.NoError(t, w.Flush(t.Context()))
}

// postAgain posts until it is taken: at first there may be a connection that the other end has closed, and nobody has noticed yet.
func postAgain(t *testing.T, w *witness) {
	t.Helper()
	require.Eventually(t, func() bool { return w.Post(t.Context(), []byte("spans again")) == nil }, patience, time.Millisecond)
}

// The answer is there, the process ends and another one takes its place, and only then does
// the post return.
func TestAnAnswerOfAProcessThatIsGoneMayBeLost(t *testing.T) {
	t.Parallel()
	answered, gone := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.ContentLength > 0 {
			close(answered)
			<-gone
		}
	}))
	t.Cleanup(server.Close)
	w := startWitness(t, server.URL)
	first, err := w.present(t.Context())
	require.NoError(t, err)
	posted := make(chan error)
	go func() { posted <- w.Post(t.Context(), []byte("spans")) }()
	<-answered
	first.Close() // to the witness, as if the process had ended
	require.Eventually(t, func() bool { at := w.current(); return at != nil && at != first }, patience, time.Millisecond)
	close(gone)
	require.NoError(t, <-posted)
	require.ErrorIs(t, w.Flush(t.Context()), errLost)
}

// A record that breaks the connection it comes by is no sign that the process has ended:
// what is sent again because of it would hold it too, for ever.
func TestARecordThatBreaksItsConnectionMakesNothingLost(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.ContentLength == int64(len("poison")) {
			panic(http.ErrAbortHandler)
		}
	}))
	t.Cleanup(server.Close)
	w := startWitness(t, server.URL)
	require.NoError(t, w.Post(t.Context(), []byte("spans")))
	require.Error(t, w.Post(t.Context(), []byte("poison")))
	require.NoError(t, w.Flush(t.Context()))
}

// Where partitions go, nobody waits for the window.
func TestAFlushThatHasNoTimeForTheWindowEndsAtOnce(t *testing.T) {
	t.Parallel()
	w := startWitness(t, "http://127.0.0.1:1")
	ctx, cancel := context.WithTimeout(t.Context(), testWindow/2)
	defer cancel()
	require.ErrorIs(t, w.Flush(ctx), errSoon)
}

// What cannot be verified is not sent, rather than again and again.
func TestABackendWhoseConnectionsEndIsRefused(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") }))
	t.Cleanup(server.Close)
	w := startWitness(t, server.URL)
	require.ErrorContains(t, w.Post(t.Context(), []byte("spans")), "RELAY_ACK=verified: post to jaeger: the connection ends with each answer")
	require.ErrorContains(t, service.Load(new(config), []string{"RELAY_ACK=verified", "JAEGER_ENDPOINT=http://localhost:14268/api/traces"}), "must be accepted with JAEGER_ENDPOINT")
	require.NoError(t, service.Load(new(config), []string{"RELAY_ACK=verified", "JAEGER_ENDPOINT=http://localhost:14268/api/traces", "OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318"}))
}

func TestARecordIsCommittedWhenItIsVerified(t *testing.T) {
	t.Parallel()
	p := jaeger.StartForTest(t)
	r := startRelay(t, p.OTLPEndpoint(), "RELAY_ACK=verified")
	r.produce(newBatch(t, "a"))
	r.eventually("it is sent", func() bool { return r.status()["spans_sent"] == 1.0 })
	sent := time.Now()
	r.eventually("it is committed", func() bool { return r.committed() == 1 })
	assert.Greater(t, time.Since(sent), ackWindow/2)
	assert.Equal(t, "verified", r.status()["ack"])
	assert.Zero(t, r.status()["read_again"])
}

// Jaeger is killed right behind its answer, KILLS times in each way. Where that loses something it does not each time: until it has.
func TestJaegerIsKilledRightBehindItsAnswer(t *testing.T) {
	kills := 2
	if text := os.Getenv("KILLS"); text != "" {
		var err error
		kills, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	for _, tt := range []struct {
		name  string
		start func(testing.TB) *jaeger.Process
		ack   ack
		loses bool
	}{
		{"our configuration, accepted", jaeger.StartForTest, accepted, false},
		{"our configuration, verified", jaeger.StartForTest, verified, false},
		{"the batch processor, accepted", jaeger.StartBatchingForTest, accepted, true},
		{"the batch processor, verified", jaeger.StartBatchingForTest, verified, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			k := newKilling(t, tt.start, tt.ack)
			lost := 0
			done := 0
			for ; done < kills || tt.loses && lost == 0 && done < 20; done++ {
				if !k.survives() {
					lost++
				}
			}
			t.Logf("%d kills, %d lost", done, lost)
			assert.Equal(t, tt.loses, lost > 0)
		})
	}
}

// killing is a Jaeger that is killed, and a relay before it.
type killing struct {
	*rig
	jaeger *jaeger.Process
	query  *jaeger.Query
	ack    ack
	last   int64 // the id of a trace
}

func newKilling(t *testing.T, start func(testing.TB) *jaeger.Process, a ack) *killing {
	k := &killing{jaeger: start(t), ack: a}
	k.query = jaeger.NewQuery(k.jaeger.QueryURL())
	t.Cleanup(k.query.Close)
	k.rig = startRelay(t, k.jaeger.OTLPEndpoint(), "RELAY_ACK="+string(a))
	return k
}

// survives kills Jaeger as soon as it has answered for a trace, starts it again, and tells
// whether it has the trace in the end.
func (k *killing) survives() bool {
	k.t.Helper()
	k.eventually("nothing is under way", func() bool { return k.pending() == 0 })
	sent, again := k.number("spans_sent"), k.number("read_again")
	trace := k.send()
	k.eventually("jaeger has answered", func() bool { return k.number("spans_sent") > sent })
	require.NoError(k.t, k.jaeger.Kill())
	ctx, cancel := context.WithTimeout(k.t.Context(), time.Minute)
	defer cancel()
	require.NoError(k.t, k.jaeger.Start(ctx))
	if k.ack == verified {
		k.eventually("the relay has gone back", func() bool { return k.number("read_again") > again })
	}
	behind := k.send()
	k.eventually("what was sent behind it is there", func() bool { return k.has(behind) })
	if k.ack == verified {
		k.eventually("what jaeger had answered for is there", func() bool { return k.has(trace) })
	}
	return k.has(trace)
}

// send writes a trace to the topic.
func (k *killing) send() (id int64) {
	k.last++
	span := newSpan("work")
	span.TraceIdLow = k.last
	k.produce(encode(k.t, "killed", span))
	return k.last
}

func (k *killing) has(trace int64) bool {
	_, err := k.query.Trace(k.t.Context(), fmt.Sprintf("%016x", trace))
	if err != nil {
		require.ErrorIs(k.t, err, jaeger.ErrNotFound)
	}
	return err == nil
}

func (k *killing) number(name string) float64 {
	n, _ := k.status()[name].(float64)
	return n
}
