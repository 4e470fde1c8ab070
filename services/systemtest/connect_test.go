package systemtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"fault-tolerant-tracing/tracing/tracingtest"
)

const connectHeap = 256 // megabytes

// fileSource is how numbers get from a file to number-topic.
var fileSource = map[string]string{
	"connector.class": "org.apache.kafka.connect.file.FileStreamSourceConnector",
	"tasks.max":       "1",
	"topic":           "number-topic",
	"key.converter":   "org.apache.kafka.connect.storage.StringConverter",
	"value.converter": "org.apache.kafka.connect.storage.StringConverter",
}

func writeProperties(t *testing.T, file string, properties map[string]string) {
	t.Helper()
	var text strings.Builder
	for _, key := range slices.Sorted(maps.Keys(properties)) {
		fmt.Fprintf(&text, "%s=%s\n", key, properties[key])
	}
	require.NoError(t, os.WriteFile(file, []byte(text.String()), 0o600))
}

// connectWorker is Kafka Connect, distributed, with one worker.
type connectWorker struct {
	t    *testing.T
	url  string
	proc *process
}

// startConnect starts a worker and returns when it answers. It knows the file
// source and, if SINK_PLUGIN names its folder, the sink of the search store.
func startConnect(t *testing.T, brokers string) *connectWorker {
	t.Helper()
	jars := os.Getenv("KAFKA_JARS")
	binary, err := findJava("java", 17)
	require.NoError(t, err)
	dir, addr := t.TempDir(), tracingtest.FreeAddr(t)
	plugins := filepath.Join(dir, "plugins")
	source, err := filepath.Glob(filepath.Join(jars, "connect-file-*.jar"))
	require.NoError(t, err)
	require.Len(t, source, 1)
	require.NoError(t, os.MkdirAll(filepath.Join(plugins, "file"), 0o755))
	require.NoError(t, os.Symlink(source[0], filepath.Join(plugins, "file", filepath.Base(source[0]))))
	if sink := os.Getenv("SINK_PLUGIN"); sink != "" {
		require.NoError(t, os.Symlink(sink, filepath.Join(plugins, "sink")))
	}
	config := map[string]string{
		"bootstrap.servers":              brokers,
		"group.id":                       "connect",
		"listeners":                      "http://" + addr,
		"key.converter":                  "org.apache.kafka.connect.storage.StringConverter",
		"value.converter":                "org.apache.kafka.connect.json.JsonConverter",
		"value.converter.schemas.enable": "false",
		"plugin.path":                    plugins,
		"plugin.discovery":               "service_load",
		"offset.flush.interval.ms":       "1000",
	}
	for _, topic := range []string{"config", "offset", "status"} {
		config[topic+".storage.topic"] = "connect-" + topic
		config[topic+".storage.replication.factor"] = "1"
	}
	file := filepath.Join(dir, "connect.properties")
	writeProperties(t, file, config)
	c := &connectWorker{t: t, url: "http://" + addr}
	c.proc = startProcess(t, "connect", filepath.Join(dir, "connect.log"), os.Environ(),
		append(java(binary, jars, connectHeap), "org.apache.kafka.connect.cli.ConnectDistributed", file)...)
	t.Cleanup(func() { c.proc.bury(t) })
	eventually(t, kafkaPatience, "Kafka Connect answers", func() (string, bool) {
		require.True(t, c.proc.running(), "Kafka Connect has ended by itself")
		status, body := c.ask(http.MethodGet, "/connectors", nil)
		return body, status == http.StatusOK
	})
	return c
}

// ask calls the REST API; the status is 0 when there is no answer.
func (c *connectWorker) ask(method, path string, body any) (int, string) {
	c.t.Helper()
	return askJSON(c.t, method, c.url+path, body)
}

// askJSON sends a body, none if it is nil, and returns the status and what came
// back; the status is 0 when there is no answer.
func askJSON(t *testing.T, method, url string, body any) (int, string) {
	t.Helper()
	var sent []byte
	if body != nil {
		var err error
		sent, err = json.Marshal(body)
		require.NoError(t, err)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(sent))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(text)
}

// register makes a connector as people do: by POST with what the file in
// deploy/kafka-connect says, or else with the defaults; changes win over both.
// It returns when its task runs.
func (c *connectWorker) register(name string, defaults, changes map[string]string) {
	c.t.Helper()
	connector := struct {
		Name   string            `json:"name"`
		Config map[string]string `json:"config"`
	}{Name: name[:len(name)-len(filepath.Ext(name))], Config: maps.Clone(defaults)}
	found, err := filepath.Glob(filepath.Join("..", "..", "deploy", "kafka-connect", "*", name))
	require.NoError(c.t, err)
	if len(found) > 0 {
		text, err := os.ReadFile(found[0])
		require.NoError(c.t, err)
		clear(connector.Config)
		require.NoError(c.t, json.Unmarshal(text, &connector))
	}
	maps.Copy(connector.Config, changes)

	eventually(c.t, kafkaPatience, "Kafka Connect takes "+name, func() (string, bool) {
		status, body := c.ask(http.MethodPost, "/connectors", connector)
		return fmt.Sprint(status, body), status == http.StatusCreated // 500 until the worker leads its group
	})
	status, body := c.ask(http.MethodPost, "/connectors", connector)
	require.Equal(c.t, http.StatusConflict, status, "a second POST: %s", body)
	status, body = c.ask(http.MethodPut, "/connectors/"+connector.Name+"/config", connector.Config)
	require.Equal(c.t, http.StatusOK, status, "a PUT of the same: %s", body)

	eventually(c.t, kafkaPatience, "the task of "+name+" runs", func() (string, bool) {
		_, body := c.ask(http.MethodGet, "/connectors/"+connector.Name+"/status", nil)
		var status struct{ Tasks []struct{ State string } }
		_ = json.Unmarshal([]byte(body), &status)
		return body, len(status.Tasks) == 1 && status.Tasks[0].State == "RUNNING"
	})
}
