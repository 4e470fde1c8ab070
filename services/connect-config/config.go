package main

import (
	"net/url"

	"fault-tolerant-tracing/services/internal/service"
)

// mode says whether there is anything to do.
type mode string

const (
	auto   mode = "auto"
	manual mode = "manual"
)

type config struct {
	Mode       mode     `env:"CONNECTORS" envDefault:"auto" oneof:"auto,manual" help:"manual: register nothing, it is done by hand"`
	ConnectURL url.URL  `env:"CONNECT_URL" envDefault:"http://localhost:8083" help:"Kafka Connect"`
	Files      []string `env:"CONNECTOR_FILES" envDefault:"deploy/kafka-connect/file-source/file-source.json,deploy/kafka-connect/elastic-sink/elastic-sink.json" help:"the connectors: files with what one would POST to /connectors, separated by commas"`

	Common service.Common
}
