package main

import (
	"fault-tolerant-tracing/services/internal/collector"
	"fault-tolerant-tracing/services/internal/deliver"
	"fault-tolerant-tracing/services/internal/payload"
	"fault-tolerant-tracing/services/internal/service"
)

// group is the consumer group of all relays.
const group = "tracing-relay"

type config struct {
	DeadLetterTopic   string       `env:"TRACING_DLQ" envDefault:"tracing-dlq" help:"topic for what Jaeger can never take"`
	MaxSpansPerSecond int          `env:"MAX_SPANS_PER_SECOND" help:"the most that is sent to Jaeger; default as many as it takes"`
	Ack               ack          `env:"RELAY_ACK" envDefault:"accepted" oneof:"accepted,verified" help:"when a record is committed: once Jaeger has accepted it, or once Jaeger has lived on for 5s behind that"`
	HTTPAddr          service.Addr `env:"HTTP_ADDR" envDefault:":8097" help:"address for /status, /healthz, /readyz and /metrics"`
	OTLP              service.OTLP
	Format            payload.Setting
	Group             service.Group
	Tracing           service.Tracing // its topic and its cluster are what the relay reads
	Common            service.Common
}

// Check implements service.Checker.
func (c *config) Check() []service.Problem {
	if c.Ack == verified && (backend{OTLP: c.OTLP, Jaeger: c.Tracing.Collector}).thrift() {
		return []service.Problem{{Name: "RELAY_ACK", Value: string(c.Ack),
			Allowed: "must be accepted with JAEGER_ENDPOINT, whose connections end with each answer: set OTEL_EXPORTER_OTLP_ENDPOINT instead"}}
	}
	return nil
}

// backend says where spans go to, of the relay and of its commands.
type backend struct {
	OTLP   service.OTLP
	Jaeger service.Collector
	Format payload.Setting
}

// open returns the endpoint: Jaeger's for jaeger.thrift if that is all that is set, else
// one of OTLP.
func (b backend) open() (e deliver.Endpoint, done func()) {
	cfg := b.config()
	cfg.Connections = deliver.Connections
	c := collector.New(cfg)
	return deliver.Endpoint{Poster: c, Thrift: b.thrift(), Format: b.Format}, c.Close
}

func (b backend) thrift() bool { return b.Jaeger.Endpoint.Host != "" && !b.OTLP.Set() }

func (b backend) config() collector.Config {
	if b.thrift() {
		return collector.Thrift(b.Jaeger.Endpoint, b.Jaeger.User, b.Jaeger.Password)
	}
	return b.OTLP.Config()
}

// connectOnce returns a collector that connects once.
func (b backend) connectOnce() *collector.Collector {
	cfg := b.config()
	cfg.Connections, cfg.Once = 1, true
	return collector.New(cfg)
}
