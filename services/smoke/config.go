package main

import (
	"net/url"
	"time"

	"fault-tolerant-tracing/services/internal/service"
)

type config struct {
	Brokers    service.Brokers `env:"KAFKA_BROKERS" envDefault:"localhost:9092" help:"addresses to start from, separated by commas"`
	QueryURL   url.URL         `env:"JAEGER_QUERY_URL" envDefault:"http://localhost:16686" help:"Jaeger's query API"`
	ConnectURL url.URL         `env:"CONNECT_URL" envDefault:"http://localhost:8083" help:"Kafka Connect"`
	StoreURL   url.URL         `env:"STORE_URL" envDefault:"http://localhost:9200" help:"OpenSearch"`
	Since      int64           `env:"SINCE" help:"when the system was started, in seconds since 1970: tells how long the first complete trace took"`
	Patience   time.Duration   `env:"PATIENCE" envDefault:"2m" help:"how long to wait while nothing comes that is missing"`

	Common service.Common
}
