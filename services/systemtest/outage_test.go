package systemtest

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fault-tolerant-tracing/services/internal/verdict"
	"fault-tolerant-tracing/tracing/tracingtest"
)

var traced = []string{"random", "stream", "sentence", "answer"}

// The article's story: Jaeger goes away while data flows and comes back, and
// every trace is whole.
func TestNoTraceIsLostWhileJaegerIsAway(t *testing.T) {
	t.Parallel()
	testJaegerAway(t, newSystem(t))
}

func testJaegerAway(t *testing.T, s *system) {
	s.startAll()
	s.feed(1, 51)
	s.complete()

	require.NoError(t, s.jaeger.Kill())
	s.feed(51, 101)
	s.relayIs("holding")
	s.eventually("the spans of the outage lie on the topic", func() (string, bool) {
		spans := len(tracingtest.SpansOnTopic(t, s.tracing.Addr(), "tracing-topic", 0))
		return "", spans >= 50*9/2+2*25
	})
	sent := s.relayStatus().SpansSent

	require.NoError(t, s.jaeger.Start(t.Context()))
	back := time.Now()
	s.eventually("the first delivery", func() (string, bool) { return "", s.relayStatus().SpansSent > sent })
	t.Logf("first delivery seen %s after Jaeger was seen to be back", time.Since(back).Round(time.Millisecond))
	r := s.complete()
	assert.Equal(t, 100, r.Traces)
	assert.Equal(t, 50*9+50*2, r.Spans)

	names, err := s.query.Services(t.Context())
	require.NoError(t, err)
	assert.Subset(t, names, append(traced, "topic-config"))
	log := s.logOf("relay")
	assert.Contains(t, log, "span(s) to jaeger")
	assert.Contains(t, log, "could not send spans to jaeger, retrying offset ")
	for _, name := range append(traced, "relay") {
		s.stop(name)
	}
}

// Started before there is a broker, in the wrong order, every service waits for
// what it needs and says so once.
func TestServicesStartInAnyOrder(t *testing.T) {
	t.Parallel()
	testAnyOrder(t, newSystem(t))
}

func testAnyOrder(t *testing.T, s *system) {
	s.broker.Stop()
	for i := len(programs) - 1; i > 0; i-- {
		s.start(programs[i])
	}
	for _, name := range []string{"stream", "sentence", "answer", "relay"} {
		s.eventually(name+" says that it waits", func() (string, bool) {
			log := s.logOf(name)
			return log, strings.Contains(log, "waiting for kafka")
		})
	}
	require.NoError(t, s.broker.Start())
	for _, name := range []string{"stream", "sentence", "answer", "relay"} {
		s.eventually(name+" says that it waits for its topics", func() (string, bool) {
			log := s.logOf(name)
			return log, strings.Contains(log, "waiting for topics")
		})
	}
	s.makeTopics()
	s.feed(1, 11)
	s.complete()
	for _, name := range programs[1:] {
		assert.LessOrEqual(t, strings.Count(s.logOf(name), "waiting for topics"), 3, "one line, not one per try: %s", name)
		s.stop(name)
	}
}

func TestServicesSurviveABrokerRestart(t *testing.T) {
	t.Parallel()
	testRestart(t, newSystem(t))
}

func testRestart(t *testing.T, s *system) {
	s.startAll()
	s.feed(1, 21)
	s.complete()
	for i := range int64(3) {
		s.broker.Stop()
		require.NoError(t, s.broker.Start())
		s.feed(21+i*20, 41+i*20)
	}
	s.judged("nothing lost", func(r verdict.Result) bool { // what was under way may have been done again
		return delivered(r) && r.Lost == 0
	})
	for _, name := range programs[1:] {
		s.stop(name)
	}
}

// A number that is being worked on when its service is killed is done again: it
// arrives, and all that lies on the topic is in Jaeger. Its trace may hold more
// than the chain, and lacks what the killed process had not sent yet.
func TestKilledServicesLoseNoNumber(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.startAll()
	s.ready("stream", "sentence", "answer", "random", "relay")
	var next int64 = 1
	for _, name := range []string{"sentence", "answer", "random", "stream", "relay"} {
		s.feed(next, next+20)
		next += 20
		s.kill(name)
		s.start(name)
	}
	s.judged("all delivered", delivered)
}
