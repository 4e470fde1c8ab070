package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"fault-tolerant-tracing/tracing/batch"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSinkCountsTheSpansOfEveryClient(t *testing.T) {
	s, err := newSink()
	require.NoError(t, err)
	want, size := 0, 0
	for client := range clients {
		for _, spans := range []int{1, 9, 100, 2000} {
			value := startStream(t, client, spans, asThrift).next()
			answer := httptest.NewRecorder()
			s.ServeHTTP(answer, httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(value)))
			require.Equal(t, http.StatusAccepted, answer.Code)
			want, size = want+spans, size+len(value)
		}
	}
	assert.EqualValues(t, want, s.spans.Load())
	assert.EqualValues(t, size, s.bytes.Load())
}

func TestSinkRefusesWhatItCannotCount(t *testing.T) {
	s, err := newSink()
	require.NoError(t, err)
	other := process(0)
	other.ServiceName += "longer"
	value, err := asThrift(other, sampleSpans(9))
	require.NoError(t, err)
	_, err = batch.Parse(value)
	require.NoError(t, err)
	for _, body := range [][]byte{nil, value[:20], value} {
		answer := httptest.NewRecorder()
		s.ServeHTTP(answer, httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body)))
		assert.Equal(t, http.StatusBadRequest, answer.Code)
	}
	assert.Zero(t, s.posts.Load())
}

func TestPostCountsWhatWasTaken(t *testing.T) {
	s, err := newSink()
	require.NoError(t, err)
	server := httptest.NewServer(s)
	defer server.Close()
	for _, connections := range []int{1, 16} {
		before := s.spans.Load()
		r, err := post{URL: server.URL, Connections: connections, Size: 9, For: 50 * time.Millisecond}.run(context.Background())
		require.NoError(t, err)
		assert.EqualValues(t, s.spans.Load()-before, r.Spans)
		assert.Positive(t, r.Spans)
		assert.GreaterOrEqual(t, r.Took, 50*time.Millisecond)
	}
}

func TestPostEndsWithTheFirstRefusal(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	_, err := post{URL: server.URL, Connections: 2, Size: 9, For: time.Minute}.run(context.Background())
	assert.ErrorContains(t, err, "404 Not Found")
}
