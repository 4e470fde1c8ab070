package tracing

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"fault-tolerant-tracing/tracing/batch"
	"fault-tolerant-tracing/tracing/internal/outbox"
	"fault-tolerant-tracing/tracing/kafkaclient"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/uber/jaeger-client-go"
	thrift "github.com/uber/jaeger-client-go/thrift-gen/jaeger"
)

const (
	maxSpans       = 100 // per batch, the article's setting
	maxRecordBytes = outbox.MaxRecordBytes
)

var errTransportClosed = errors.New("tracing transport is closed")

// TransportConfig configures a Transport. Kafka.Brokers is required; every other
// zero value means its default.
type TransportConfig struct {
	Kafka       kafkaclient.Cluster
	Topic       string       // default DefaultTopic
	BufferBytes int          // default DefaultBufferBytes; at least one record, 900 kB
	SpoolDir    string       // as in Config; default none
	SpoolBytes  int          // default DefaultSpoolBytes; at least 16 MiB
	Logger      *slog.Logger // default slog.Default()
}

// Transport is a jaeger.Transport that writes batches of spans to a Kafka topic:
// at most 100 spans and 900 kB each, keyed by the process (its client-uuid) and
// numbered. See package batch for the format. A batch that the topic's
// max.message.bytes does not admit is halved until it does; all parts carry its
// number. A span that is refused alone is lost.
//
// Batches that Kafka has not acknowledged are kept in memory, in order, up to
// BufferBytes, and sent again for as long as it takes. When the buffer is full
// the newest batch is lost: its number is used up, so that the gap shows, and its
// spans are counted. With a SpoolDir, batches that wait for a second leave memory for
// a file there, up to SpoolBytes, and so do those behind them; if the process ends
// before they are sent, the next one with that directory and topic sends them, as
// they are, with key and number. Directories may be shared, if all write to one
// cluster; each process has a file of its own. The counters (see Stats) are part of every batch; if they
// change and no span follows, a batch without spans carries them.
//
// Append and Flush never wait for Kafka. All methods are safe for concurrent use.
type Transport struct {
	losses
	outbox *outbox.Outbox
	log    *slog.Logger

	mu      sync.Mutex
	key     []byte
	process []byte // serialized; nil before the first span
	spans   []byte // serialized, of the open batch
	count   int    // spans in the open batch
	seqNo   int64  // of the last batch
	stamped batch.Stats
	closed  bool

	appended atomic.Uint64 // spans that Append was given

	closeOnce sync.Once
	closeErr  error
}

// NewTransport makes a transport and returns at once, whether or not Kafka can be
// reached. Give its Metrics to the reporter, and close it after the reporter.
func NewTransport(cfg TransportConfig) (*Transport, error) {
	return newTransport(cfg, nil)
}

// newTransport takes further settings for the producer, for tests.
func newTransport(cfg TransportConfig, producer kafka.ConfigMap) (*Transport, error) {
	o, err := outbox.New(outbox.Config(cfg), "jaeger_thrift", splitBatch, producer)
	if err != nil {
		return nil, err
	}
	return &Transport{losses: losses{o.Tally}, outbox: o, log: cmp.Or(cfg.Logger, slog.Default())}, nil
}

func splitBatch(value []byte, n int) (first, second []byte, err error) {
	frame, err := batch.Parse(value)
	if err != nil {
		return nil, nil, err
	}
	return frame.Slice(0, n), frame.Slice(n, frame.Spans()), nil
}

// Append implements jaeger.Transport. The number is that of the spans in the
// batches this span completed and the buffer took. Spans that are lost are
// counted in Stats, not returned as errors: the reporter would log each of them.
func (t *Transport) Append(span *jaeger.Span) (int, error) {
	defer t.appended.Add(1)
	s := jaeger.BuildJaegerThrift(span)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return 1, errTransportClosed
	}
	if t.process == nil {
		if err := t.setProcess(jaeger.BuildJaegerProcessThrift(span)); err != nil {
			return 1, err
		}
	}
	return t.append(s), nil
}

func (t *Transport) setProcess(p *thrift.Process) (err error) {
	for _, tag := range p.Tags {
		if tag.Key == jaeger.TracerUUIDTagKey {
			t.key = []byte(tag.GetVStr())
		}
	}
	t.process, err = batch.EncodeProcess(p)
	return err
}

func (t *Transport) append(s *thrift.Span) (flushed int) {
	before := len(t.spans)
	extended, err := batch.AppendSpan(t.spans, s)
	if err != nil {
		t.tally.FailedToEmit(1, "a span could not be encoded: "+err.Error())
		return 0
	}
	t.spans = extended
	switch size := t.recordBytes(len(t.spans) - before); {
	case size > maxRecordBytes:
		t.spans = t.spans[:before]
		t.tally.TooLarge(1, fmt.Sprintf("span %q is too large for a record: %d bytes", s.OperationName, size))
		return 0
	case t.recordBytes(len(t.spans)) > maxRecordBytes:
		flushed = t.send(before)
	}
	t.count++
	if t.count == maxSpans {
		flushed += t.send(len(t.spans))
	}
	return flushed
}

// recordBytes is the size of a record with so many bytes of spans.
func (t *Transport) recordBytes(spans int) int {
	return batch.Overhead + len(t.process) + spans
}

// Flush implements jaeger.Transport: it closes the open batch, and never waits.
// The number is as for Append.
func (t *Transport) Flush() (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return 0, nil
	}
	t.tally.Report()
	return t.flush(), nil
}

func (t *Transport) flush() int {
	if t.count == 0 && (t.process == nil || t.stamped == t.stats()) {
		return 0
	}
	return t.send(len(t.spans))
}

// send makes a batch of the open spans, which take the first n bytes, and hands it
// to the outbox. What lies behind them opens the next batch.
func (t *Transport) send(n int) (flushed int) {
	stats := t.stats()
	value := batch.Encode(t.process, t.spans[:n], t.count, t.seqNo+1, stats)
	switch {
	case t.outbox.Push(outbox.Record{Key: t.key, Value: value, Spans: t.count}):
		t.seqNo++
		t.stamped = stats
		flushed = t.count
	case t.count > 0:
		t.seqNo++
		t.tally.FailedToEmit(t.count, "the buffer is full, kafka does not take spans")
	}
	t.spans = t.spans[:copy(t.spans, t.spans[n:])]
	t.count = 0
	return flushed
}

// Stats returns how many spans were lost so far, by reason. The spans that the
// reporter dropped are known only if it was given Metrics.
func (t *Transport) Stats() batch.Stats { return t.stats() }
