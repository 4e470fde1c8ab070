// Package tracing gives a service an OpenTracing tracer whose spans survive an
// outage of Jaeger: they are written to a Kafka topic, from where a relay carries
// them to Jaeger when it can take them. For comparison a tracer can also send its
// spans straight to Jaeger.
//
// The promise: a span that a running process finished reaches the topic, however
// long Kafka is away, while there is room to keep it; a span that cannot be kept
// is counted, and the counters travel with the spans (see package batch). A
// process that is killed takes along what it had not yet sent, unless it has a
// spool: then it takes along what came after the last flush, or up to a second
// more where Kafka has just gone away.
//
// The package reads no environment and sets no global tracer. What ties spans to
// messages and requests lies in kafkatrace, gokatrace and httptrace; what of a
// trace travels with them, in propagation.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"fault-tolerant-tracing/tracing/internal/outbox"
	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/propagation"

	"github.com/opentracing/opentracing-go"
	"github.com/uber/jaeger-client-go"
	"github.com/uber/jaeger-client-go/config"
)

// Kind says which way a tracer's spans take.
type Kind string

// The kinds of transport.
const (
	Kafka  Kind = "kafka"  // to a Kafka topic, kept until it acknowledges them
	Direct Kind = "direct" // straight to Jaeger's collector; what it does not take is lost
)

// UnmarshalText accepts the names of the kinds.
func (k *Kind) UnmarshalText(text []byte) error {
	switch kind := Kind(text); kind {
	case Kafka, Direct:
		*k = kind
		return nil
	}
	return fmt.Errorf("transport %q: want %s or %s", text, Kafka, Direct)
}

// MarshalText returns the kind's name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k), nil }

// Config configures a tracer. Service is required, and Kafka.Brokers or Endpoint
// as the transport needs it; every other zero value means its default.
type Config struct {
	Service   string // name of the service in Jaeger
	Transport Kind   // default Kafka

	Kafka       kafkaclient.Cluster // for Kafka; may be another cluster than the service's own
	Topic       string              // for Kafka; default DefaultTopic
	BufferBytes int                 // for Kafka; what is kept while the cluster is away, at least 900 kB; default DefaultBufferBytes
	SpoolDir    string              // for Kafka; directory for what Kafka does not take within a second, so that it outlives the process; default none
	SpoolBytes  int                 // for Kafka; what each process may keep there, at least 16 MiB; default DefaultSpoolBytes
	Endpoint    string              // for Direct; URL of the collector, http://host:14268/api/traces; no proxy is used
	User        string              // for Direct; basic authentication, if not empty
	Password    string

	Sampler       config.SamplerConfig // default: const 1, every trace
	Tags          []opentracing.Tag    // tags of the process, beside those that Jaeger's client adds
	Gen128Bit     bool                 // trace ids of 128 bits instead of 64
	Disabled      bool                 // a tracer that does nothing; the transport settings do not matter
	LogSpans      bool                 // log each finished span at debug level
	FlushInterval time.Duration        // how long a span may wait for others; default 1 s
	QueueSize     int                  // finished spans that may wait for the transport; default 10 000
	Logger        *slog.Logger         // default slog.Default()
}

// Defaults of Config.
const (
	DefaultTopic       = outbox.DefaultTopic
	DefaultBufferBytes = outbox.DefaultBufferBytes
	DefaultSpoolBytes  = outbox.DefaultSpoolBytes
)

const (
	defaultFlushInterval = time.Second
	defaultQueueSize     = 10_000
)

// Tracer is the tracer that New makes.
type Tracer struct {
	opentracing.Tracer
	propagator *propagation.Propagator
	reported   *atomic.Uint64
	transport  transport // nil: Disabled
}

// BaggageDropped returns how much baggage could not travel so far: see package
// propagation. It is safe for several goroutines.
func (t *Tracer) BaggageDropped() propagation.Dropped { return t.propagator.Dropped() }

// New makes a tracer and returns at once, whether or not Kafka or Jaeger can be
// reached. Make it before the clients whose work it traces, and close it after
// them.
//
// The returned function flushes what is not yet sent and releases everything. It
// waits no longer than ctx allows, is safe to call again, and its error holds a
// *LeftBehindError (errors.As) if spans could not be sent in time and are not in a
// spool. Spans finished after it was called are lost.
func New(cfg Config) (*Tracer, func(context.Context) error, error) {
	cfg.setDefaults()
	propagator := propagation.New(cfg.Logger)
	if cfg.Disabled {
		return &Tracer{Tracer: opentracing.NoopTracer{}, propagator: propagator}, func(context.Context) error { return nil }, nil
	}
	if cfg.Service == "" {
		return nil, nil, errors.New("tracing: no service name")
	}
	t, err := cfg.transport()
	if err != nil {
		return nil, nil, fmt.Errorf("tracing: %w", err)
	}
	reported := new(atomic.Uint64)
	tracer, closer, err := cfg.tracer(t, propagator, reported)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("tracing: %w", err), t.Close())
	}
	var once sync.Once
	return &Tracer{tracer, propagator, reported, t}, func(ctx context.Context) error {
		once.Do(func() { err = t.shutdownAfter(ctx, closer) })
		return err
	}, nil
}

func (c *Config) setDefaults() {
	if c.Transport == "" {
		c.Transport = Kafka
	}
	if c.Sampler.Type == "" {
		c.Sampler.Type, c.Sampler.Param = jaeger.SamplerTypeConst, 1
	}
	if c.FlushInterval <= 0 {
		c.FlushInterval = defaultFlushInterval
	}
	if c.QueueSize <= 0 {
		c.QueueSize = defaultQueueSize
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
}

// Flush sends every span that was finished before the call, and blocks until Kafka has
// acknowledged all of them or ctx ends, whose cause it then returns. Spans that cannot be
// kept, which are counted, do not hold it up. A service that commits what it has read only
// after Flush has the trace of everything it counts as done, however it ends. With Direct
// Flush waits for nothing: there a span that is sent may be lost all the same. It is safe
// for several goroutines.
func (t *Tracer) Flush(ctx context.Context) error {
	if t.transport == nil {
		return nil
	}
	return t.transport.flushUpTo(ctx, t.reported.Load())
}

// transport is what New needs of either transport.
type transport interface {
	jaeger.Transport
	Metrics() *jaeger.Metrics
	// flushUpTo is Flush, of as many spans as were reported.
	flushUpTo(ctx context.Context, reported uint64) error
	// shutdownAfter closes the tracer, which hands over what its queue holds, and then the transport.
	shutdownAfter(ctx context.Context, tracer io.Closer) error
}

func (c *Config) transport() (transport, error) {
	switch c.Transport {
	case Kafka:
		return NewTransport(TransportConfig{
			Kafka: c.Kafka, Topic: c.Topic, BufferBytes: c.BufferBytes, SpoolDir: c.SpoolDir, SpoolBytes: c.SpoolBytes, Logger: c.Logger,
		})
	case Direct:
		return newDirect(c.Endpoint, c.User, c.Password, c.Logger)
	}
	return nil, fmt.Errorf("transport %q: want %s or %s", c.Transport, Kafka, Direct)
}

func (c *Config) tracer(t transport, propagator *propagation.Propagator, reported *atomic.Uint64) (opentracing.Tracer, io.Closer, error) {
	logger := jaegerLogger{c.Logger}
	sampler, err := c.Sampler.NewSampler(c.Service, jaeger.NewNullMetrics())
	if err != nil {
		return nil, nil, err
	}
	reporter := jaeger.NewRemoteReporter(shutdownOnly{t},
		jaeger.ReporterOptions.QueueSize(c.QueueSize),
		jaeger.ReporterOptions.BufferFlushInterval(c.FlushInterval),
		jaeger.ReporterOptions.Logger(logger),
		jaeger.ReporterOptions.Metrics(t.Metrics()))
	if c.LogSpans {
		reporter = jaeger.NewCompositeReporter(jaeger.NewLoggingReporter(debugLogger{logger}), reporter)
	}
	return config.Configuration{ServiceName: c.Service, Tags: c.Tags, Gen128Bit: c.Gen128Bit}.NewTracer(
		config.Sampler(sampler), config.Reporter(counter{propagator.Reporter(reporter), reported}), config.Logger(logger),
		config.Injector(opentracing.HTTPHeaders, propagator), config.Extractor(opentracing.HTTPHeaders, propagator))
}

// counter counts what it hands to the reporter, whose queue may drop it. It counts first: what another span is counted for
// must not stand for one that still waits in the queue.
type counter struct {
	jaeger.Reporter
	reported *atomic.Uint64
}

func (c counter) Report(span *jaeger.Span) {
	c.reported.Add(1)
	c.Reporter.Report(span)
}

// shutdownOnly keeps the reporter from closing the transport: its Close knows no
// bound and drops the error.
type shutdownOnly struct{ transport }

func (shutdownOnly) Close() error { return nil }
