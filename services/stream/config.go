package main

import "fault-tolerant-tracing/services/internal/service"

// group is the consumer group of all instances of stream, and what its Kafka
// clients call themselves.
const group = "stream-app"

type config struct {
	NumberTopic     string       `env:"NUMBER_TOPIC" envDefault:"number-topic" help:"topic with the numbers to sort"`
	EvenTopic       string       `env:"EVEN_TOPIC" envDefault:"even-topic" help:"topic for the even ones"`
	OddTopic        string       `env:"ODD_TOPIC" envDefault:"odd-topic" help:"topic for the odd ones"`
	DeadLetterTopic string       `env:"NUMBER_DLQ" envDefault:"number-dlq" help:"topic for what is not an integer"`
	HTTPAddr        service.Addr `env:"HTTP_ADDR" envDefault:":8093" help:"address for /healthz, /readyz and /metrics"`
	Kafka           service.Kafka
	Group           service.Group
	Tracing         service.Tracing
	Common          service.Common
}

// topics are those without which there is nothing to do. The dead-letter topic may
// come later: only what is to be set aside waits for it.
func (c config) topics() []string { return []string{c.NumberTopic, c.EvenTopic, c.OddTopic} }
