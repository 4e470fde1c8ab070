package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"fault-tolerant-tracing/services/internal/connect"
	"fault-tolerant-tracing/tracing/tracingtest"
)

func TestMain(m *testing.M) { tracingtest.VerifyMain(m) }

const six = `{"number":6,"random":1,"sentence":"6 + 1","completeSentence":"6 + 1 = 7","answer":7}`

func TestAnAnswerIsCheckedByItsSum(t *testing.T) {
	t.Parallel()
	document, err := answer(kgo.StringRecord(six))
	require.NoError(t, err)
	assert.Equal(t, "6 + 1 = 7", document["completeSentence"])
	for _, wrong := range []string{
		"poison", "{}", "[1]",
		`{"number":6,"random":1,"sentence":"6 + 1","completeSentence":"6 + 1 = 8","answer":8}`,
		`{"number":6,"random":1,"sentence":"6 + 2","completeSentence":"6 + 2 = 7","answer":7}`,
	} {
		_, err := answer(kgo.StringRecord(wrong))
		assert.Error(t, err, wrong)
	}
}

func TestTheStoreIsComparedDocumentByDocument(t *testing.T) {
	t.Parallel()
	found := `{"docs":[{"_id":"answer-topic+0+0","found":true,"_source":` + six + `},{"_id":"answer-topic+0+1","found":false}]}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/answer-topic/_mget":
			_, _ = w.Write([]byte(found))
		default:
			http.NotFound(w, r) // no such connector: nothing that could have failed
		}
	}))
	defer server.Close()
	defer http.DefaultClient.CloseIdleConnections()
	s := store{url: server.URL, connect: connect.NewClient(server.URL)}

	document, err := answer(kgo.StringRecord(six))
	require.NoError(t, err)
	require.NoError(t, s.compare(t.Context(), map[string]any{"answer-topic+0+0": document}))
	assert.ErrorContains(t, s.compare(t.Context(), map[string]any{"answer-topic+0+0": document, "answer-topic+0+1": document}), "1 of 2 documents")
	assert.ErrorContains(t, s.compare(t.Context(), map[string]any{"answer-topic+0+0": map[string]any{"number": 7.0}}), "was written as")
}
