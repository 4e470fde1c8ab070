package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fault-tolerant-tracing/tracing/batch"
)

// nextOf returns the next record of a source and its first span.
func nextOf(t *testing.T, s *source) (value []byte, first spanID) {
	t.Helper()
	_, value, first, err := s.next()
	require.NoError(t, err)
	return value, first
}

func TestBadRecordsHoldSoManyBadSpans(t *testing.T) {
	decoded := func(s *source) *batchOf {
		value, first := nextOf(t, s)
		b, err := batch.Decode(value)
		require.NoError(t, err)
		require.Len(t, b.Spans, s.size)
		assert.Equal(t, first, idOf(b.Spans[0]))
		of := &batchOf{service: b.Process.ServiceName}
		for _, span := range b.Spans {
			if span.OperationName == poisoned {
				of.bad++
				assert.Len(t, span.Tags, 6)
			}
		}
		return of
	}
	some := &source{size: 9, bad: 2, tag: binaryTag(10)}
	assert.Equal(t, &batchOf{"service-00", 2}, decoded(some))
	assert.Equal(t, &batchOf{"service-01", 2}, decoded(some))
	assert.Equal(t, 2, some.letters())
	assert.False(t, some.good())
	assert.Equal(t, &batchOf{"service-00", 0}, decoded(&source{size: 9}))
	assert.True(t, (&source{size: 9}).good())
}

type batchOf struct {
	service string
	bad     int
}

func TestNoSpanOfABadRecordIsTakenForAGoodOne(t *testing.T) {
	_, good := nextOf(t, &source{size: 1})
	_, bad := nextOf(t, &source{size: 1, bad: 1})
	assert.NotEqual(t, good, bad)
}

func TestWhatIsNoBatchMakesALetterUnlessItIsNull(t *testing.T) {
	value, first := nextOf(t, garbage(7))
	assert.Len(t, value, 7)
	assert.Zero(t, first)
	assert.Equal(t, 1, garbage(7).letters())
	assert.Zero(t, new(source).letters())
	assert.False(t, new(source).good())
}

func TestScenariosWriteWhatTheyAreNamedFor(t *testing.T) {
	names := map[string]bool{}
	for _, s := range scenarios() {
		assert.False(t, names[s.name], "%s is there twice", s.name)
		names[s.name] = true
		good, letters := 0, 0
		for _, p := range s.phases() {
			for _, from := range p.order {
				letters += from.letters()
				if from.good() {
					good++
				}
			}
		}
		switch s.name {
		case "flood":
			assert.Equal(t, []int{5_000, 50_080}, []int{good, letters})
		case "wall":
			assert.Equal(t, []int{4_000, 12_000}, []int{good, letters})
		default:
			assert.Equal(t, 4_000, good, s.name)
		}
	}
}

func TestAFrontPassesOnWhatItDoesNotRefuse(t *testing.T) {
	answer := http.StatusAccepted
	jaeger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(answer) }))
	defer jaeger.Close()
	f, at, stop, err := startFront(urls{thrift: jaeger.URL + "/api/traces", otlp: jaeger.URL + "/v1/traces"}, status(http.StatusTeapot))
	require.NoError(t, err)
	defer stop()
	defer http.DefaultClient.CloseIdleConnections()
	post := func(value []byte) int {
		response, err := http.Post(at.thrift, "application/x-thrift", bytes.NewReader(value))
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		return response.StatusCode
	}
	good, first := nextOf(t, &source{size: 9})
	bad, refusedFirst := nextOf(t, &source{clients: []int{refused}, size: 1, bad: 1})
	sent := []written{{first, time.Now()}, {refusedFirst, time.Now()}}
	assert.Equal(t, http.StatusTeapot, post(bad))
	answer = http.StatusInternalServerError
	assert.Equal(t, http.StatusInternalServerError, post(good))
	assert.Empty(t, f.delays(sent))
	answer = http.StatusAccepted
	assert.Equal(t, http.StatusAccepted, post(good))
	require.Eventually(t, func() bool { return len(f.delays(sent)) == 1 }, 5*time.Second, time.Millisecond)
}

func TestGoodSpansAmongTheLettersAreCounted(t *testing.T) {
	o := outcome{}
	bad, _ := nextOf(t, &source{size: 9, bad: 2})
	for _, value := range [][]byte{bad, []byte("garbage"), nil} {
		require.NoError(t, o.letter(&kafka.Message{Value: value}))
	}
	assert.Equal(t, 3, o.letters)
	assert.Equal(t, 7, o.goodAside)
}

func TestTablesWithTheSameHeadAreOne(t *testing.T) {
	head, other := []string{"a", "b"}, []string{"a", "c"}
	tables := appendTable(nil, table{head, {"1", "2"}})
	tables = appendTable(tables, table{head, {"3", "4"}})
	tables = appendTable(tables, table{other, {"5", "6"}})
	assert.Equal(t, []table{{head, {"1", "2"}, {"3", "4"}}, {other, {"5", "6"}}}, tables)
}
