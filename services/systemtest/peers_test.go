package systemtest

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"

	"fault-tolerant-tracing/services/internal/jaeger"
	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/otelkafka"
	"fault-tolerant-tracing/tracing/otlp"
)

// bin/jaeger is an OpenTelemetry Collector too. With the Kafka exporter it writes what the
// relay carries on, in each encoding. What it has answered with 2xx is in Jaeger in the end.
func TestACollectorWritesForTheRelay(t *testing.T) {
	for _, encoding := range []string{"otlp_proto", "otlp_json", "jaeger_proto"} {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t)
			if encoding == "jaeger_proto" {
				s.extra = append(s.extra, "TRACING_FORMAT=jaeger_proto")
			}
			s.startRelay()
			c := s.startCollector(encoding)
			id := int64(0)
			s.peerLosesNothing(func() string {
				id++
				s.eventually("the collector takes a trace", func() (string, bool) {
					err := c.post(id)
					return fmt.Sprint(err), err == nil
				})
				return fmt.Sprintf("%x", id)
			})
		})
	}
}

// What the exporter for OpenTelemetry's Go SDK has flushed is in Jaeger in the end.
func TestTheGoSDKWritesForTheRelay(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.startRelay()
	exporter, err := otelkafka.New(otelkafka.Config{Kafka: kafkaclient.Cluster{Brokers: addresses(s.tracing)}})
	require.NoError(t, err)
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter),
		sdktrace.WithResource(resource.NewSchemaless(semconv.ServiceName("peer"))))
	tracer := provider.Tracer("test")
	s.peerLosesNothing(func() string {
		ctx, root := tracer.Start(t.Context(), "root")
		for i := range spansPerBatch - 1 {
			_, span := tracer.Start(ctx, fmt.Sprint("child-", i))
			span.End()
		}
		root.End()
		require.NoError(t, provider.ForceFlush(t.Context()))
		return root.SpanContext().TraceID().String()
	})
	require.NoError(t, provider.Shutdown(t.Context()))
	require.NoError(t, exporter.Shutdown(t.Context()))
}

// The example for OpenTelemetry's Python SDK works, on a real Kafka.
func TestRealKafkaThePythonSDKWritesForTheRelay(t *testing.T) {
	t.Parallel()
	s := newKafkaSystem(t)
	s.startRelay()
	python := pythonWith(t, "../../deploy/otel-python/requirements.txt")
	var ids []string
	s.peerLosesNothing(func() string {
		if len(ids) == 0 {
			cmd := exec.CommandContext(t.Context(), python, "../../deploy/otel-python/spans_to_kafka.py", s.tracing.Addr(), "10")
			cmd.Env = append(os.Environ(), "OTEL_SERVICE_NAME=peer")
			out, err := cmd.Output()
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				require.NoError(t, err, string(exit.Stderr))
			}
			require.NoError(t, err)
			ids = strings.Fields(string(out))
		}
		id := ids[0]
		ids = ids[1:]
		return id
	})
}

// pythonWith returns an interpreter with the packages of a file of requirements. They are
// fetched the first time.
func pythonWith(t *testing.T, requirements string) string {
	t.Helper()
	wanted, err := os.ReadFile(requirements)
	require.NoError(t, err)
	folder := filepath.Join(binDir, "..", "python")
	python, kept := filepath.Join(folder, "bin", "python"), filepath.Join(folder, "requirements.txt")
	if got, err := os.ReadFile(kept); err == nil && bytes.Equal(got, wanted) {
		return python
	}
	require.NoError(t, os.RemoveAll(folder))
	for _, args := range [][]string{{"python3", "-m", "venv", folder}, {python, "-m", "pip", "install", "--quiet", "-r", requirements}} {
		out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
		require.NoError(t, err, "Python 3.10 or newer with venv is needed, and packages from PyPI: %s", out)
	}
	require.NoError(t, os.WriteFile(kept, wanted, 0o600))
	return python
}

// peerLosesNothing takes a program that writes spans by itself through an outage of Jaeger
// and the death of the relay: each trace is whole in Jaeger in the end. send makes a trace
// of nine spans that Kafka has when it returns the id.
func (s *system) peerLosesNothing(send func() (traceID string)) {
	s.t.Helper()
	var sent []string
	more := func() {
		for range 20 {
			sent = append(sent, send())
		}
	}
	more()
	require.NoError(s.t, s.jaeger.Kill())
	more()
	s.relayIs("holding")
	s.kill("relay")
	more()
	s.start("relay")
	require.NoError(s.t, s.jaeger.Start(s.t.Context()))
	more()
	s.eventually("all is in Jaeger", func() (string, bool) {
		for _, id := range sent {
			trace, err := s.query.Trace(s.t.Context(), id)
			if errors.Is(err, jaeger.ErrNotFound) || err == nil && len(trace.Spans) < spansPerBatch {
				return fmt.Sprintf("trace %s is not whole", id), false
			}
			require.NoError(s.t, err)
		}
		return "", true
	})
}

// collector is a running one.
type collector struct {
	url    string
	client *http.Client
}

func (s *system) startCollector(encoding string) collector {
	s.t.Helper()
	addr := s.addr("collector")
	env := append(os.Environ(), "OTLP_ADDR="+addr, "KAFKA_BROKER="+s.tracing.Addr(), "ENCODING="+encoding)
	s.procs["collector"] = startProcess(s.t, "collector", filepath.Join(s.t.TempDir(), "collector.log"), env,
		filepath.Join(binDir, "..", "jaeger"), "--config", filepath.Join(binDir, "..", "..", "deploy", "otel-collector", "kafka.yaml"))
	return collector{"http://" + addr + "/v1/traces", &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
}

// post sends the spans of a trace.
func (c collector) post(trace int64) error {
	all := ptrace.NewTraces()
	r := all.ResourceSpans().AppendEmpty()
	r.Resource().Attributes().PutStr("service.name", "peer")
	spans := r.ScopeSpans().AppendEmpty().Spans()
	for i := range spansPerBatch {
		span := spans.AppendEmpty()
		span.SetName(fmt.Sprint("span-", i))
		span.SetTraceID(pcommon.TraceID(otlp.NewTraceID(0, trace)))
		span.SetSpanID(pcommon.SpanID{7: byte(i + 1)})
		span.SetStartTimestamp(1)
		span.SetEndTimestamp(2)
	}
	body, err := new(ptrace.ProtoMarshaler).MarshalTraces(all)
	if err != nil {
		return err
	}
	answer, err := c.client.Post(c.url, "application/x-protobuf", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return errors.New(answer.Status)
	}
	return nil
}
