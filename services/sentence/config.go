package main

import (
	"net/url"

	"fault-tolerant-tracing/services/internal/service"
)

type config struct {
	EvenTopic     string       `env:"EVEN_TOPIC" envDefault:"even-topic" help:"topic with the numbers"`
	SentenceTopic string       `env:"SENTENCE_TOPIC" envDefault:"sentence-topic" help:"topic for the sentences"`
	EvenDLQ       string       `env:"EVEN_DLQ" envDefault:"even-dlq" help:"topic for what is no integer"`
	RandomURL     url.URL      `env:"RANDOM_URL" envDefault:"http://localhost:8096" help:"where the service random is"`
	HTTPAddr      service.Addr `env:"HTTP_ADDR" envDefault:":8094" help:"address for /healthz, /readyz and /metrics"`
	Kafka         service.Kafka
	Group         service.Group
	Tracing       service.Tracing
	Common        service.Common
}
