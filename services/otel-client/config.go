package main

import (
	"net/url"

	"fault-tolerant-tracing/services/internal/service"
)

type config struct {
	Topic     string  `env:"TRACING_TOPIC" envDefault:"tracing-topic" help:"topic for the spans"`
	SpoolDir  string  `env:"TRACING_SPOOL_DIR" help:"directory for spans that Kafka does not take within a second, so that they outlive the process; default none"`
	RandomURL url.URL `env:"RANDOM_URL" envDefault:"http://localhost:8096" help:"where the service random is"`
	Requests  uint    `env:"REQUESTS" envDefault:"5" help:"how many numbers to ask for"`
	Kafka     service.TracingKafka
	Common    service.Common

	_ string `env:"OTEL_SERVICE_NAME" envDefault:"otel-client" help:"name of the service in its traces"`
	_ string `env:"OTEL_RESOURCE_ATTRIBUTES" help:"attributes of the process: name=value, separated by commas"`
}
