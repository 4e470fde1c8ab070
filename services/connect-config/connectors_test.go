package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fault-tolerant-tracing/services/internal/connect"
	"fault-tolerant-tracing/tracing/tracingtest"
)

func TestMain(m *testing.M) { tracingtest.VerifyMain(m) }

// worker answers as Kafka Connect does.
type worker struct {
	plugins []string
	refuse  int    // PUTs to answer with 409 first
	task    string // the state of the task

	config map[string]map[string]string // by connector
}

func (w *worker) start(t *testing.T) config {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /connector-plugins", func(rw http.ResponseWriter, _ *http.Request) {
		var list []map[string]string
		for _, class := range w.plugins {
			list = append(list, map[string]string{"class": class, "type": "source"})
		}
		_ = json.NewEncoder(rw).Encode(list)
	})
	mux.HandleFunc("PUT /connectors/{name}/config", func(rw http.ResponseWriter, req *http.Request) {
		if w.refuse > 0 {
			w.refuse--
			http.Error(rw, `{"error_code":409,"message":"rebalance"}`, http.StatusConflict)
			return
		}
		var config map[string]string
		assert.NoError(t, json.NewDecoder(req.Body).Decode(&config))
		w.config[req.PathValue("name")] = config
	})
	mux.HandleFunc("GET /connectors/{name}/status", func(rw http.ResponseWriter, req *http.Request) {
		if w.config[req.PathValue("name")] == nil {
			http.NotFound(rw, req)
			return
		}
		_ = json.NewEncoder(rw).Encode(connect.Status{
			Connector: connect.Part{State: "RUNNING"}, Tasks: []connect.Part{{State: w.task, Trace: "no such file\n at x"}},
		})
	})
	w.config = map[string]map[string]string{}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	at, err := url.Parse(server.URL)
	require.NoError(t, err)
	return config{Mode: auto, ConnectURL: *at, Files: []string{
		"../../deploy/kafka-connect/file-source/file-source.json", "../../deploy/kafka-connect/elastic-sink/elastic-sink.json",
	}}
}

const (
	fileSource = "org.apache.kafka.connect.file.FileStreamSourceConnector"
	openSearch = "io.aiven.kafka.connect.opensearch.OpenSearchSinkConnector"
)

func TestBothConnectorsAreRegistered(t *testing.T) {
	t.Parallel()
	w := &worker{plugins: []string{fileSource, openSearch}, refuse: 1, task: "RUNNING"}
	cfg := w.start(t)
	for range 2 { // and again
		require.NoError(t, run(t.Context(), cfg, slog.New(slog.DiscardHandler)))
		assert.Equal(t, "number-topic", w.config["file-source"]["topic"])
		assert.Equal(t, "answer-topic", w.config["elastic-sink"]["topics"])
	}
}

func TestAConnectorWithoutItsPluginIsLeftOut(t *testing.T) {
	t.Parallel()
	w := &worker{plugins: []string{fileSource}, task: "RUNNING"}
	require.NoError(t, run(t.Context(), w.start(t), slog.New(slog.DiscardHandler)))
	assert.Contains(t, w.config, "file-source")
	assert.NotContains(t, w.config, "elastic-sink")
}

func TestManualRegistersNothing(t *testing.T) {
	t.Parallel()
	w := &worker{plugins: []string{fileSource}, task: "RUNNING"}
	cfg := w.start(t)
	cfg.Mode = manual
	require.NoError(t, run(t.Context(), cfg, slog.New(slog.DiscardHandler)))
	assert.Empty(t, w.config)
}

// The connector itself says RUNNING when its task has failed.
func TestAFailedTaskIsAnError(t *testing.T) {
	t.Parallel()
	w := &worker{plugins: []string{fileSource}, task: "FAILED"}
	cfg := w.start(t)
	client := registrar{client: connect.NewClient(cfg.ConnectURL.String()), log: slog.New(slog.DiscardHandler)}
	require.NoError(t, client.client.Put(t.Context(), connect.Connector{Name: "file-source", Config: map[string]string{}}))
	assert.EqualError(t, client.running(t.Context(), "file-source"), "FAILED: no such file")
	assert.EqualError(t, client.running(t.Context(), "other"), "not there yet")
}

func TestWaitingEndsWithTheContextAndTellsWhy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		err := registrar{log: slog.New(slog.DiscardHandler)}.until(ctx, "waiting", func(context.Context) error { return os.ErrNotExist })
		assert.ErrorIs(t, err, os.ErrNotExist)
	})
}

func TestAFileThatIsNoConnectorIsNamed(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "x.json")
	for _, content := range []string{"{", "{}", `{"name":"x","config":{}}`} {
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
		_, err := read(file)
		assert.ErrorContains(t, err, file)
	}
	_, err := read("missing.json")
	assert.ErrorContains(t, err, "missing.json")
}
