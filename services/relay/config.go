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
	HTTPAddr          service.Addr `env:"HTTP_ADDR" envDefault:":8097" help:"address for /status, /healthz, /readyz and /metrics"`
	OTLP              service.OTLP
	Format            payload.Setting
	Group             service.Group
	Tracing           service.Tracing // its topic and its cluster are what the relay reads
	Common            service.Common
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
	thrift := b.Jaeger.Endpoint.Host != "" && !b.OTLP.Set()
	cfg := b.OTLP.Config()
	if thrift {
		cfg = collector.Thrift(b.Jaeger.Endpoint, b.Jaeger.User, b.Jaeger.Password)
	}
	cfg.Connections = deliver.Connections
	c := collector.New(cfg)
	return deliver.Endpoint{Poster: c, Thrift: thrift, Format: b.Format}, c.Close
}
