package main

import (
	"fault-tolerant-tracing/services/internal/service"
)

// group is the consumer group of all relays.
const group = "tracing-relay"

type config struct {
	DeadLetterTopic   string       `env:"TRACING_DLQ" envDefault:"tracing-dlq" help:"topic for what Jaeger can never take"`
	MaxSpansPerSecond int          `env:"MAX_SPANS_PER_SECOND" help:"the most that is sent to Jaeger; default as many as it takes"`
	HTTPAddr          service.Addr `env:"HTTP_ADDR" envDefault:":8097" help:"address for /status, /healthz, /readyz and /metrics"`
	Group             service.Group
	Tracing           service.Tracing // its topic and its cluster are what the relay reads
	Common            service.Common
}
