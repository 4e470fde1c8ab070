package main

import "fault-tolerant-tracing/services/internal/service"

type config struct {
	SentenceTopic string       `env:"SENTENCE_TOPIC" envDefault:"sentence-topic" help:"topic with the sentences"`
	AnswerTopic   string       `env:"ANSWER_TOPIC" envDefault:"answer-topic" help:"topic for the answers"`
	SentenceDLQ   string       `env:"SENTENCE_DLQ" envDefault:"sentence-dlq" help:"topic for what is no sentence"`
	HTTPAddr      service.Addr `env:"HTTP_ADDR" envDefault:":8095" help:"address for /healthz, /readyz and /metrics"`
	Kafka         service.Kafka
	Group         service.Group
	Tracing       service.Tracing
	Common        service.Common
}
