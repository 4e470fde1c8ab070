package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fault-tolerant-tracing/tracing/tracingtest"
)

func TestTakenPortsAreNamedInOneSentence(t *testing.T) {
	p := freePorts(t)
	require.NoError(t, p.checkFree())

	listen(t, p.Kafka)
	assert.EqualError(t, p.checkFree(), fmt.Sprintf(
		"port %d (for the Kafka broker) is taken: is another demo running, or something else that must be stopped first?", p.Kafka))

	listen(t, p.Relay)
	assert.EqualError(t, p.checkFree(), fmt.Sprintf("ports %d (for the Kafka broker), %d (for relay) are taken: "+
		"is another demo running, or something else that must be stopped first?", p.Kafka, p.Relay))
}

func TestNumbersFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "numbers.txt")
	write := func(text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }

	write("1\n-4\n12\n")
	numbers, err := readNumbers(file)
	require.NoError(t, err)
	assert.Equal(t, []int64{1, -4, 12}, numbers)
	assert.Equal(t, []int64{13, 14, 15}, moreNumbers(12, 3))

	for text, want := range map[string]string{
		"":                               ": no numbers",
		" \n\n":                          ": no numbers",
		"1\n\n2\n":                       `, line 2: "" is not a number the demo can follow`,
		"1\ntwo\n":                       `, line 2: "two" is not a number the demo can follow`,
		strings.Repeat("x", 1000) + "\n": `, line 1: "` + strings.Repeat("x", 60) + `" is not a number the demo can follow`,
	} {
		write(text)
		_, err = readNumbers(file)
		assert.EqualError(t, err, file+want)
	}
}

func TestFeedWritesLikeTheFileSource(t *testing.T) {
	b := tracingtest.StartBroker(t)
	b.CreateTopics(t, 3, numberTopic)
	require.NoError(t, feed(t.Context(), b.Addr(), texts([]int64{1, 2, 3})))
	var values []string
	for _, r := range tracingtest.ReadTopic(t, b.Addr(), numberTopic, 3) {
		assert.Nil(t, r.Key)
		assert.Empty(t, r.Headers)
		values = append(values, string(r.Value))
	}
	assert.ElementsMatch(t, []string{"1", "2", "3"}, values)
}

func TestFollowShowsTheArticlesLinesOnly(t *testing.T) {
	file := filepath.Join(t.TempDir(), "relay.log")
	log, err := os.Create(file)
	require.NoError(t, err)
	defer log.Close()
	write := func(text string) {
		_, err := log.WriteString(text)
		require.NoError(t, err)
	}
	write("msg=\"sending 1 span(s) to jaeger\"\n") // before: not shown

	var shown []string // may be read after q.done
	q := follow(t.Context(), file, sendingLine, func(line string) { shown = append(shown, line) })
	write("msg=starting\nmsg=\"sending 9 spa")
	write("n(s) to jaeger\" service=relay\n")
	<-q.first
	write("msg=\"sending 10 span(s) to jaeger\"\nmsg=\"sending 11 span(s) to jaeger\"\nmsg=\"sending 12 span(s) to jaeger\"\n")
	<-q.done // by itself, there are enough
	q.end(0)
	assert.Equal(t, []string{"sending 9 span(s) to jaeger", "sending 10 span(s) to jaeger", "sending 11 span(s) to jaeger"}, shown)

	assert.Equal(t, "could not send spans to jaeger, retrying offset 12 of partition 3, 5 records wait",
		holdingLine.FindString(`level=INFO msg="could not send spans to jaeger, retrying offset 12 of partition 3, 5 records wait" service=relay`))
}

func TestFollowEndsWithoutALine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "relay.log")
	follow(t.Context(), file, sendingLine, nil).end(time.Minute) // no such log
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	follow(t.Context(), file, sendingLine, nil).end(time.Millisecond)
}

func TestScreenHasNoColoursOrOverwritingInAFile(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	require.NoError(t, err)
	defer file.Close()
	s := newScreen(file)
	s.heading("Start")
	s.waiting("not for long")
	s.quote("relay", "sending 9 span(s) to jaeger")
	text, err := os.ReadFile(file.Name())
	require.NoError(t, err)
	assert.Equal(t, "\n1  Start\n   relay │ sending 9 span(s) to jaeger\n", string(text))
}

func freePorts(t *testing.T) ports {
	t.Helper()
	free := func() int { return tracingtest.FreePort(t) }
	return ports{free(), free(), free(), free(), free(), free(), free(), free(), free(), free()}
}

func listen(t *testing.T, port int) {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
}
