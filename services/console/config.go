package main

import (
	"net/url"

	"fault-tolerant-tracing/services/internal/payload"
	"fault-tolerant-tracing/services/internal/service"
)

type config struct {
	HTTPAddr      service.Addr `env:"HTTP_ADDR" envDefault:"127.0.0.1:8080" help:"address of the page, and of /healthz, /readyz and /metrics"`
	RelayURL      url.URL      `env:"RELAY_URL" envDefault:"http://localhost:8097" help:"where the relay is"`
	RandomURL     url.URL      `env:"RANDOM_URL" envDefault:"http://localhost:8096" help:"where the service random is"`
	QueryURL      url.URL      `env:"JAEGER_QUERY_URL" envDefault:"http://localhost:16686" help:"Jaeger's query API"`
	UIURL         url.URL      `env:"JAEGER_UI_URL" envDefault:"http://localhost:16686" help:"Jaeger's UI, as the browser finds it"`
	ControlSocket string       `env:"CONTROL_SOCKET" help:"socket of a running demo that does what the buttons say; default none: commands to copy"`
	Topics        service.Topics
	TracingTopic  string `env:"TRACING_TOPIC" envDefault:"tracing-topic" help:"topic with the spans"`
	Format        payload.Setting
	Kafka         service.Kafka
	TracingKafka  service.TracingKafka
	Common        service.Common
}
