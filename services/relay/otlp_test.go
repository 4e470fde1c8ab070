package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jaegertracing/jaeger-idl/model/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"fault-tolerant-tracing/services/internal/collectortest"
	"fault-tolerant-tracing/services/internal/payload"
	"fault-tolerant-tracing/tracing/numbering"
	"fault-tolerant-tracing/tracing/tracingtest"
)

// asOTLP returns a batch as other clients write it.
func asOTLP(t *testing.T, operations ...string) (proto, json []byte) {
	t.Helper()
	held, err := payload.Parse(newBatch(t, operations...))
	require.NoError(t, err)
	traces, err := held.Decode()
	require.NoError(t, err)
	json, err = new(ptrace.JSONMarshaler).MarshalTraces(traces)
	require.NoError(t, err)
	return held.AppendOTLP(nil, 0, held.Len()), json
}

// As during a migration from one client to another.
func TestFormatsMayBeMixedOnOneTopic(t *testing.T) {
	collector := collectortest.Start(t, collectortest.Status(503))
	r := startRelay(t, collector.URL())
	first, _ := asOTLP(t, "proto")
	_, second := asOTLP(t, "json")
	r.put(in(0, newBatch(t, "thrift"), first, second)...)
	r.eventually("the relay tries", func() bool { return collector.Posts() > 0 })
	collector.Answer(collectortest.Status(200))
	r.eventually("all is committed", func() bool { return r.committed() == 3 })
	for _, operation := range []string{"thrift", "proto", "json"} {
		assert.Equal(t, 1, collector.Taken(operation), operation)
	}
	assert.Empty(t, r.setAside())
}

// Other clients compress, and have keys and headers of their own.
func TestRecordsOfOtherClients(t *testing.T) {
	collector := collectortest.Start(t, collectortest.Status(200))
	r := startRelay(t, collector.URL())
	var want []string
	for codec, name := range map[kgo.CompressionCodec]string{
		kgo.NoCompression(): "none", kgo.GzipCompression(): "gzip", kgo.SnappyCompression(): "snappy", kgo.Lz4Compression(): "lz4", kgo.ZstdCompression(): "zstd",
	} {
		client, err := kgo.NewClient(kgo.SeedBrokers(r.broker.Addr()), kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(codec))
		require.NoError(t, err)
		var records []*kgo.Record
		for i := range 20 {
			operation := fmt.Sprint(name, "-", i)
			value, _ := asOTLP(t, operation)
			want = append(want, operation)
			records = append(records, &kgo.Record{Key: []byte("a-trace"), Value: value, Headers: []kgo.RecordHeader{{Key: numbering.SeqNoHeader, Value: []byte("one")}, {Key: "Content-Type"}}})
		}
		require.NoError(t, client.ProduceSync(t.Context(), records...).FirstErr())
		client.Close()
	}
	r.eventually("all is committed", func() bool { return r.committed() == int64(len(want)) })
	for _, operation := range want {
		assert.Equal(t, 1, collector.Taken(operation), operation)
	}
	assert.Empty(t, r.setAside())
}

func TestRecordsOfJaegersOwnCollectors(t *testing.T) {
	collector := collectortest.Start(t, collectortest.Status(200))
	r := startRelay(t, collector.URL(), "TRACING_FORMAT=jaeger_proto")
	value, err := (&model.Span{TraceID: model.NewTraceID(0, 2), SpanID: 7, OperationName: "one", StartTime: time.Unix(1, 0), Process: &model.Process{ServiceName: "test"}}).Marshal()
	require.NoError(t, err)
	r.put(in(0, value)...)
	r.eventually("it is committed", func() bool { return r.committed() == 1 })
	assert.Equal(t, 1, collector.Taken("one"))
}

// What a backend has taken but for some spans is done, and is kept beside with its reason.
func TestWhatIsPartlyRejectedIsKept(t *testing.T) {
	collector := collectortest.Start(t, func(w http.ResponseWriter, p collectortest.Post) {
		if !slices.Contains(p.Operations, "old") {
			return
		}
		answer := ptraceotlp.NewExportResponse()
		answer.PartialSuccess().SetRejectedSpans(1)
		answer.PartialSuccess().SetErrorMessage("too old")
		body, err := answer.MarshalProto()
		assert.NoError(t, err)
		w.Header().Set("Content-Type", "application/x-protobuf")
		_, _ = w.Write(body)
	})
	r := startRelay(t, collector.URL())
	value := newBatch(t, "new", "old")
	r.put(in(0, value)...)
	r.eventually("it is committed", func() bool { return r.committed() == 1 })
	letters := r.letters(1)
	require.Len(t, letters, 1)
	assert.Equal(t, value, letters[0].Value)
	assert.Equal(t, "partly rejected, 1 span(s): too old", letters[0].Reason)
	assert.Equal(t, 1, collector.Posts(), "it is not sent again")
	assert.EqualValues(t, 1, r.metric("relay_spans_rejected_total"))
	assert.EqualValues(t, 1, r.metric(`relay_set_aside_total{reason="partly rejected"}`))
	assert.Contains(t, r.logs.String(), "refused some for good")
}

// With JAEGER_ENDPOINT alone each batch is posted by itself, as it is; what cannot be, is
// tried again, and says why.
func TestTheArticlesWay(t *testing.T) {
	value := newBatch(t, "a", "b")
	collector := collectortest.Start(t, func(w http.ResponseWriter, p collectortest.Post) {
		assert.Equal(t, value, p.Body)
		w.WriteHeader(202)
	})
	r := startRelay(t, collector.ThriftURL())
	request, _ := asOTLP(t, "c")
	r.put(in(0, request)...)
	r.eventually("it says why", func() bool { return strings.Contains(r.logs.String(), "set OTEL_EXPORTER_OTLP_ENDPOINT instead") })
	assert.Zero(t, r.committed())
	r.put(in(1, value, value, value)...)
	r.eventually("the others are delivered", func() bool { return collector.Taken("a") == 3 })
	assert.Equal(t, 3, collector.Posts())
}

func TestItTrustsAndShowsCertificates(t *testing.T) {
	authority := tracingtest.NewAuthority(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "Bearer x", r.Header.Get("Authorization"))
		assert.Len(t, r.TLS.PeerCertificates, 1)
	}))
	server.TLS = authority.ServerTLS(t)
	server.StartTLS()
	t.Cleanup(server.Close)
	files := authority.NewPEMFiles(t, time.Now().Add(time.Hour))
	headers := files.Key + ".headers"
	require.NoError(t, os.WriteFile(headers, []byte("Authorization=Bearer%20x"), 0o600))
	r := startRelay(t, server.URL+"/v1/traces", "OTEL_EXPORTER_OTLP_CERTIFICATE="+files.CA, "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE="+files.Cert,
		"OTEL_EXPORTER_OTLP_CLIENT_KEY="+files.Key, "OTEL_EXPORTER_OTLP_HEADERS_FILE="+headers, "OTEL_EXPORTER_OTLP_COMPRESSION=gzip")
	r.put(in(0, newBatch(t, "a"))...)
	r.eventually("it is committed", func() bool { return r.committed() == 1 })
}
