package main

import (
	"encoding/json"
	"net/http"

	"fault-tolerant-tracing/services/internal/consume"
)

// status is what GET /status answers.
type status struct {
	consume.Status
	Jaeger        string `json:"jaeger"`
	SpansSent     uint64 `json:"spans_sent"`      // taken by Jaeger since the start
	PartsSetAside uint64 `json:"parts_set_aside"` // of records that had to be split
}

func statusHandler(r *relay, consumer *consume.Consumer) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		answer := json.NewEncoder(w)
		answer.SetIndent("", "  ")
		_ = answer.Encode(status{ // fails only if the client is gone
			Status:        consumer.Status(),
			Jaeger:        r.jaeger.url,
			SpansSent:     r.spans.Load(),
			PartsSetAside: r.parts.Load(),
		})
	}
}
