package main

import "fault-tolerant-tracing/services/internal/service"

type config struct {
	HTTPAddr service.Addr `env:"HTTP_ADDR" envDefault:":8096" help:"address for /random, /healthz, /readyz and /metrics"`
	Tracing  service.Tracing
	Common   service.Common
}
