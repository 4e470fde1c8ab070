// Package otelkafka is an exporter for the OpenTelemetry Go SDK whose spans survive
// an outage of the backend and of Kafka: it writes them to a Kafka topic as
// otlp_proto, the bytes of OTLP/HTTP, from where a relay, or a Collector with a
// Kafka receiver, carries them on.
//
// The promise: a span that ExportSpans took reaches the topic, however long Kafka is
// away, the topic is missing or the producer fails, while the process runs and there
// is room to keep it; a span that cannot be kept is counted, and the counters travel
// with the spans (see package numbering). A process that is killed takes along what
// it had not yet sent, unless it has a spool: then it takes along what was exported
// in the last tenth of a second, or the last one where Kafka has just gone away.
//
// What the SDK drops before the exporter is not seen here, and counted nowhere: its
// BatchSpanProcessor keeps 2 048 spans for up to 5 s by default. Give it a larger
// queue and a shorter wait, as the example does; spans are safe only when they are
// exported.
//
// The package reads no environment. OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES
// are read by the SDK's resource package. Nothing of Jaeger's client and of
// OpenTracing is linked into a program by it.
package otelkafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"

	"fault-tolerant-tracing/tracing/internal/outbox"
	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/numbering"
	"fault-tolerant-tracing/tracing/otlp"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

// Defaults of Config.
const (
	DefaultTopic       = outbox.DefaultTopic
	DefaultBufferBytes = outbox.DefaultBufferBytes
	DefaultSpoolBytes  = outbox.DefaultSpoolBytes
)

var errShutDown = errors.New("otelkafka exporter is shut down")

// Config configures an Exporter. Kafka.Brokers is required; every other zero value
// means its default.
type Config struct {
	Kafka       kafkaclient.Cluster // may be another cluster than the service's own
	Topic       string              // default DefaultTopic
	BufferBytes int                 // what is kept while Kafka is away; default DefaultBufferBytes; at least one record, 900 kB
	SpoolDir    string              // directory for what Kafka does not take within a second, so that it outlives the process; default none
	SpoolBytes  int                 // what each process may keep there, at least 16 MiB; default DefaultSpoolBytes
	Logger      *slog.Logger        // default slog.Default()
}

// LeftBehindError says that an exporter was shut down before all its spans were
// sent, and that they are lost.
type LeftBehindError = outbox.LeftBehindError

// Exporter is a sdktrace.SpanExporter that writes to a Kafka topic. The spans of one
// export make one record, or several of at most 900 kB each; they are keyed by a
// random uuid of the exporter, 16 hexadecimal digits, and numbered, with the spans
// lost so far, in headers: see package numbering. A record that the topic's
// max.message.bytes does not admit is halved until it does; all parts carry its
// number. A span that is too large alone is lost.
//
// Records that Kafka has not acknowledged are kept in memory, in order, up to
// BufferBytes, and sent again for as long as it takes. When the buffer is full the
// newest record is lost: its number is used up, so that the gap shows, and its spans
// are counted. If they are counted and no span follows, Shutdown sends a record
// without spans that carries the counters.
//
// With a SpoolDir, records that wait for a second leave memory for a file there, up
// to SpoolBytes, and so do those behind them; if the process ends before they are
// sent, the next one with that directory and topic sends them, as they are, with key
// and headers. Directories may be shared, if all write to one cluster; each process
// has a file of its own.
//
// All methods are safe for concurrent use.
type Exporter struct {
	otlp   *otlptrace.Exporter // transforms spans, and hands them to client
	outbox *outbox.Outbox
	key    []byte

	mu       sync.Mutex
	resource *resourcepb.Resource // of the last export
	seqNo    int64                // of the last record
	stamped  numbering.Losses     // what the last record that was kept says
	closed   bool

	closeOnce sync.Once
	closeErr  error
}

// New makes an exporter and returns at once, whether or not Kafka can be reached.
// Give it to a BatchSpanProcessor, which shuts it down.
func New(cfg Config) (*Exporter, error) {
	return newExporter(cfg, nil)
}

// newExporter takes further settings for the producer, for tests.
func newExporter(cfg Config, producer kafka.ConfigMap) (*Exporter, error) {
	o, err := outbox.New(outbox.Config(cfg), "otlp_proto", split, producer)
	if err != nil {
		return nil, fmt.Errorf("otelkafka: %w", err)
	}
	e := &Exporter{outbox: o, key: fmt.Appendf(nil, "%016x", rand.Uint64())}
	e.otlp = otlptrace.NewUnstarted(client{e})
	return e, nil
}

// ExportSpans implements sdktrace.SpanExporter. It never waits for Kafka, whatever
// ctx says. An error says how many spans were lost; the others were taken. The SDK
// gives it to its error handler, export by export; the logger tells of a burst of
// losses only when it starts and when it is over.
func (e *Exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	return e.otlp.ExportSpans(ctx, spans)
}

// client is the otlptrace.Client that gets the transformed spans.
type client struct{ *Exporter }

func (client) Start(context.Context) error { return nil }
func (client) Stop(context.Context) error  { return nil }

func (c client) UploadTraces(_ context.Context, spans []*tracepb.ResourceSpans) error {
	request, err := encode(spans)
	n := count(spans)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errShutDown
	}
	c.outbox.Tally.Report()
	c.resource = spans[0].Resource
	lost := n
	if err != nil {
		c.outbox.Tally.FailedToEmit(n, "spans could not be encoded: "+err.Error())
	} else {
		lost = c.add(request)
	}
	if lost > 0 {
		return fmt.Errorf("%d of %d span(s) lost; in all %s", lost, n, c.Losses())
	}
	return nil
}

// add makes records of a request.
func (e *Exporter) add(r otlp.Request) (lost int) {
	n, size := r.Spans(), len(r.Bytes())
	switch {
	case size <= outbox.MaxRecordBytes:
		return e.send(r.Bytes(), n)
	case n == 1:
		e.outbox.Tally.TooLarge(1, fmt.Sprintf("span %q is too large for a record: %d bytes", nameOf(r), size))
		return 1
	}
	for _, part := range [][]byte{r.Slice(nil, 0, n/2), r.Slice(nil, n/2, n)} {
		half, _ := otlp.Parse(part) // a part of a request is one
		lost += e.add(half)
	}
	return lost
}

// send hands a record to the outbox.
func (e *Exporter) send(value []byte, spans int) (lost int) {
	e.seqNo++
	losses := e.Losses()
	if !e.outbox.Push(outbox.Record{Key: e.key, Value: value, Headers: []kafka.Header{
		{Key: numbering.SeqNoHeader, Value: numbering.FormatSeqNo(e.seqNo)},
		{Key: numbering.LossesHeader, Value: []byte(losses.String())},
	}, Spans: spans}) {
		e.outbox.Tally.FailedToEmit(spans, "the buffer is full, kafka does not take spans")
		return spans
	}
	e.stamped = losses
	return 0
}

// Losses returns how many spans were lost so far, by reason. FullQueue stays 0: it is
// what a queue before the exporter drops, and that of the SDK does not tell.
func (e *Exporter) Losses() numbering.Losses { return e.outbox.Tally.Losses() }

// Flush blocks until Kafka has acknowledged every span that was exported before the call,
// and what was left in the spool before, or ctx ends, whose cause it then returns. Spans that
// cannot be kept, which are counted, do not hold it up, and after Shutdown only ctx ends it.
// A consumer that calls the provider's ForceFlush and then Flush, and commits what it has read
// only when both have returned nil, has the trace of everything it counts as done, however it
// ends, but for spans that were counted as lost and those that the SDK drops; with
// sdktrace.WithBlocking it drops none.
func (e *Exporter) Flush(ctx context.Context) error { return e.outbox.Flush(ctx) }

// Shutdown implements sdktrace.SpanExporter: it waits until Kafka has acknowledged
// everything or ctx ends, and releases the exporter. What is left then goes to the
// spool. If there is none, or it does not take them, the error is a *LeftBehindError.
// Further calls wait for the first and return its result: the
// SDK's processors return only the error of ctx when it ends, and a call after theirs
// tells more.
func (e *Exporter) Shutdown(ctx context.Context) error {
	e.closeOnce.Do(func() {
		e.mu.Lock()
		if e.stamped != e.Losses() {
			e.send(withoutSpans(e.resource), 0)
		}
		e.closed = true
		e.mu.Unlock()
		e.closeErr = e.outbox.Shutdown(ctx)
	})
	return e.closeErr
}
