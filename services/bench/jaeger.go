package main

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

//go:embed jaeger.yaml
var jaegerConfig []byte

// memoryStore forgets the oldest trace: memory stays bounded.
const memoryStore = "{memory: {max_traces: 50000}}"

// badgerStore keeps all in a folder, and refuses what it cannot index.
func badgerStore(folder string) string {
	return fmt.Sprintf("{badger: {ephemeral: false, directories: {keys: %s/keys, values: %s/values}}}", folder, folder)
}

// target is what takes spans: a Jaeger or the program sink.
type target struct {
	*child
	urls   urls                               // of its collector
	pprof  string                             // address that serves profiles; empty: none
	stored func(context.Context) (int, error) // how many spans it has taken
}

// urls are where a collector takes jaeger.thrift, and where it takes OTLP.
type urls struct{ thrift, otlp string }

// addrs are the addresses of a collector for the two.
type addrs struct{ thrift, otlp string }

func freeAddrs() (a addrs, err error) {
	a.thrift, err = freeAddr()
	if err == nil {
		a.otlp, err = freeAddr()
	}
	return a, err
}

func (a addrs) urls() urls {
	return urls{thrift: "http://" + a.thrift + "/api/traces", otlp: "http://" + a.otlp + "/v1/traces"}
}

// ingest says what Jaeger's own ingester reads.
type ingest struct {
	brokers, topic, group string
	markAfter             bool // mark records after they are stored, not before
}

// startCollector starts a fresh Jaeger with a memory store that takes posts, and
// returns when it does.
func (b *bench) startCollector(ctx context.Context) (*target, error) {
	at, err := freeAddrs()
	if err != nil {
		return nil, err
	}
	return b.startCollectorAt(ctx, at, memoryStore)
}

// startCollectorAt does so at addresses and with a store of the caller's choice.
func (b *bench) startCollectorAt(ctx context.Context, at addrs, store string) (*target, error) {
	j, err := b.startJaeger(ctx, store, "RECEIVERS=[otlp, jaeger]", "COLLECTOR_ADDR="+at.thrift, "OTLP_ADDR="+at.otlp)
	if err != nil {
		return nil, err
	}
	j.urls = at.urls()
	for _, addr := range []string{at.thrift, at.otlp} {
		if err := j.await(ctx, func(ctx context.Context) error { return dial(ctx, addr) }); err != nil {
			j.stop()
			return nil, err
		}
	}
	return j, nil
}

// startIngester starts a fresh Jaeger with a memory store that reads Kafka.
func (b *bench) startIngester(ctx context.Context, from ingest) (*target, error) {
	return b.startJaeger(ctx, memoryStore, "RECEIVERS=[kafka]", "KAFKA_ADDR="+from.brokers, "KAFKA_TOPIC="+from.topic,
		"KAFKA_GROUP="+from.group, "MARK_AFTER="+strconv.FormatBool(from.markAfter))
}

func (b *bench) startJaeger(ctx context.Context, store string, env ...string) (*target, error) {
	config := filepath.Join(b.work, "jaeger.yaml")
	if err := os.WriteFile(config, jaegerConfig, 0o600); err != nil {
		return nil, err
	}
	metrics, err := freeAddr()
	if err != nil {
		return nil, err
	}
	pprof, err := freeAddr()
	if err != nil {
		return nil, err
	}
	env = append(env, "STORE="+store, "METRICS_PORT="+port(metrics), "PROFILE_PORT="+port(pprof))
	c, err := startChild("jaeger", b.work, env, nil, filepath.Join(b.root, "bin", "jaeger"), "--config", config)
	if err != nil {
		return nil, err
	}
	if err := c.await(ctx, func(ctx context.Context) error { return dial(ctx, metrics) }); err != nil {
		c.stop()
		return nil, err
	}
	return &target{child: c, pprof: pprof, stored: func(ctx context.Context) (int, error) { return stored(ctx, "http://"+metrics+"/metrics") }}, nil
}

func port(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

func dial(ctx context.Context, addr string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err == nil {
		_ = conn.Close()
	}
	return err
}

// stored asks a Jaeger how many spans are in its store, or were until newer ones
// took their place: the exporter of the store counts a batch after it was
// written.
func stored(ctx context.Context, url string) (int, error) {
	metrics, err := get(ctx, url)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(metrics)) {
		if strings.HasPrefix(line, "otelcol_exporter_sent_spans") {
			fields := strings.Fields(line)
			spans, err := strconv.ParseFloat(fields[len(fields)-1], 64)
			return int(spans), err
		}
	}
	return 0, nil // the line comes with the first span
}

// get returns what is at a URL.
func get(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = &statusError{url: url, status: response.StatusCode}
	}
	return body, err
}

// statusError is an answer other than 200.
type statusError struct {
	url    string
	status int
}

func (e *statusError) Error() string { return fmt.Sprintf("GET %s: status %d", e.url, e.status) }
