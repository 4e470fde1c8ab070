package main

import (
	"encoding/json"
	"net/http"

	"github.com/go-chi/chi/v5"

	"fault-tolerant-tracing/services/internal/consume"
	"fault-tolerant-tracing/services/internal/ledger"
	"fault-tolerant-tracing/services/internal/look"
	"fault-tolerant-tracing/services/internal/printable"
)

// status is what GET /status answers.
type status struct {
	consume.Status
	Jaeger        string `json:"jaeger"`
	Ack           ack    `json:"ack"`
	SpansSent     uint64 `json:"spans_sent"`      // taken by Jaeger since the start
	PartsSetAside uint64 `json:"parts_set_aside"` // of records that had to be split

	Ledger ledger.Status `json:"ledger"`
}

func (r *relay) routes(router chi.Router) {
	router.Get("/status", r.status)
	router.Group(func(router chi.Router) {
		router.Use(look.Policy)
		router.Get("/", r.index)
		router.Get("/static/look.css", look.Style)
	})
}

func (r *relay) status(w http.ResponseWriter, _ *http.Request) {
	consumer := r.consumer.Load()
	if consumer == nil {
		http.Error(w, "The relay waits for Kafka and its topics.", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	answer := json.NewEncoder(printable.Writer(w))
	answer.SetIndent("", "  ")
	_ = answer.Encode(status{ // fails only if the client is gone
		Status:        consumer.Status(),
		Jaeger:        r.endpoint.URL(),
		Ack:           r.ack,
		SpansSent:     r.metrics.spans.Load(),
		PartsSetAside: r.metrics.parts.Load(),
		Ledger:        r.ledger.Status(),
	})
}
