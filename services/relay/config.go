package main

import (
	"net/url"

	"fault-tolerant-tracing/services/internal/service"
)

// group is the consumer group of all relays.
const group = "tracing-relay"

type config struct {
	service.Common
	service.Group
	Kafka           service.Kafka `envPrefix:"TRACING_" fallback:"true"`
	Topic           string        `env:"TRACING_TOPIC" envDefault:"tracing-topic" help:"topic with the spans"`
	DeadLetterTopic string        `env:"TRACING_DLQ" envDefault:"tracing-dlq" help:"topic for what Jaeger can never take"`
	Endpoint        url.URL       `env:"JAEGER_ENDPOINT" envDefault:"http://localhost:14268/api/traces" help:"Jaeger's collector"`
	HTTPAddr        service.Addr  `env:"HTTP_ADDR" envDefault:":8097" help:"address for /status, /healthz, /readyz and /metrics"`
}
