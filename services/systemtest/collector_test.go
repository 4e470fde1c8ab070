package systemtest

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"fault-tolerant-tracing/services/internal/jaeger"
	"fault-tolerant-tracing/tracing/otlp"
)

// bin/jaeger is an OpenTelemetry Collector too. With the Kafka exporter it writes what the
// relay carries on, in each encoding, through an outage of Jaeger and the death of the
// relay. What it has answered with 2xx is in Jaeger in the end.
func TestACollectorWritesForTheRelay(t *testing.T) {
	for _, encoding := range []string{"otlp_proto", "otlp_json", "jaeger_proto"} {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t)
			if encoding == "jaeger_proto" {
				s.extra = append(s.extra, "TRACING_FORMAT=jaeger_proto")
			}
			s.start("topic-config")
			s.wait("topic-config")
			s.start("relay")
			s.ready("relay")
			c := s.startCollector(encoding)
			var sent []int64
			send := func(traces int) {
				for range traces {
					id := int64(len(sent) + 1)
					s.eventually("the collector takes a trace", func() (string, bool) {
						err := c.post(id)
						return fmt.Sprint(err), err == nil
					})
					sent = append(sent, id)
				}
			}
			send(20)
			require.NoError(t, s.jaeger.Kill())
			send(20)
			s.relayIs("holding")
			s.kill("relay")
			send(20)
			s.start("relay")
			require.NoError(t, s.jaeger.Start(t.Context()))
			send(20)
			s.eventually("all is in Jaeger", func() (string, bool) {
				for _, id := range sent {
					trace, err := s.query.Trace(t.Context(), fmt.Sprintf("%x", id))
					if errors.Is(err, jaeger.ErrNotFound) || err == nil && len(trace.Spans) < spansPerBatch {
						return fmt.Sprintf("trace %d is not whole", id), false
					}
					require.NoError(t, err)
				}
				return "", true
			})
		})
	}
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
