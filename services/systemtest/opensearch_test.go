package systemtest

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"fault-tolerant-tracing/services/internal/verdict"
	"fault-tolerant-tracing/tracing/tracingtest"
)

const openSearchHeap = 512 // megabytes

// sink is how documents get from answer-topic to the search store.
var sink = map[string]string{
	"connector.class":                "io.aiven.kafka.connect.opensearch.OpenSearchSinkConnector",
	"tasks.max":                      "1",
	"topics":                         "answer-topic",
	"key.converter":                  "org.apache.kafka.connect.storage.StringConverter",
	"value.converter":                "org.apache.kafka.connect.json.JsonConverter",
	"value.converter.schemas.enable": "false",
	"key.ignore":                     "true",
	"schema.ignore":                  "true",
}

// document is a record of answer-topic.
type document struct {
	Number           int64  `json:"number"`
	Random           int64  `json:"random"`
	Sentence         string `json:"sentence"`
	CompleteSentence string `json:"completeSentence"`
	Answer           int64  `json:"answer"`
}

// testStore checks that the documents of answer-topic are what they should be,
// and that the search store takes them: through Kafka Connect where the sink is
// at hand, else from the test.
func testStore(t *testing.T, s *system, connect *connectWorker) {
	var records []*kgo.Record
	require.NoError(t, verdict.Scan(t.Context(), addresses(s.broker), func(r *kgo.Record) error {
		records = append(records, r)
		return nil
	}, "answer-topic"))
	want := documents(t, records)
	require.Len(t, want, 50)
	for _, d := range want {
		assert.Equal(t, fmt.Sprintf("%d + %d", d.Number, d.Random), d.Sentence)
		assert.Equal(t, fmt.Sprintf("%s = %d", d.Sentence, d.Answer), d.CompleteSentence)
		assert.Equal(t, d.Number+d.Random, d.Answer)
	}

	binary, err := findJava("javac", 21) // it is started from source
	if err != nil {
		t.Skip("OpenSearch is left out: it", err)
	}
	command := java(filepath.Join(filepath.Dir(binary), "java"), os.Getenv("OPENSEARCH_JARS"), openSearchHeap)
	store := startOpenSearch(t, command)
	if os.Getenv("SINK_PLUGIN") != "" {
		connect.register("elastic-sink.json", sink, map[string]string{"connection.url": store})
	} else {
		t.Log("the sink is not installed (SINK_PLUGIN): the test itself gives the documents to OpenSearch")
		for _, r := range records {
			id := fmt.Sprintf("%s+%d+%d", r.Topic, r.Partition, r.Offset)
			status, body := askJSON(t, http.MethodPut, store+"/answer-topic/_doc/"+id, json.RawMessage(r.Value))
			require.Equal(t, http.StatusCreated, status, body)
		}
	}
	eventually(t, kafkaPatience, "all documents are found", func() (string, bool) {
		got := search(t, store)
		return fmt.Sprint(len(got)), assert.ObjectsAreEqual(want, got)
	})
}

func documents(t *testing.T, records []*kgo.Record) map[int64]document {
	t.Helper()
	list := map[int64]document{}
	for _, r := range records {
		var d document
		require.NoError(t, json.Unmarshal(r.Value, &d), "%s", r.Value)
		list[d.Number] = d
	}
	return list
}

// startOpenSearch starts one node without security and returns its URL.
func startOpenSearch(t *testing.T, command []string) string {
	t.Helper()
	dir, addr := t.TempDir(), tracingtest.FreeAddr(t)
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	proc := startProcess(t, "opensearch", filepath.Join(dir, "opensearch.log"), os.Environ(),
		append(command, filepath.Join("jars", "OpenSearch.java"), dir, port)...)
	t.Cleanup(func() { proc.bury(t) })
	url := "http://" + addr
	eventually(t, kafkaPatience, "OpenSearch answers", func() (string, bool) {
		require.True(t, proc.running(), "OpenSearch has ended by itself")
		status, body := askJSON(t, http.MethodGet, url+"/_cluster/health", nil)
		return body, status == http.StatusOK
	})
	return url
}

// search returns what the store finds on answer-topic, by number.
func search(t *testing.T, store string) map[int64]document {
	t.Helper()
	_, _ = askJSON(t, http.MethodPost, store+"/answer-topic/_refresh", nil)
	_, body := askJSON(t, http.MethodGet, store+"/answer-topic/_search?size=1000", nil)
	var result struct {
		Hits struct {
			Hits []struct {
				Source document `json:"_source"`
			}
		}
	}
	_ = json.Unmarshal([]byte(body), &result)
	list := map[int64]document{}
	for _, hit := range result.Hits.Hits {
		list[hit.Source.Number] = hit.Source
	}
	return list
}
