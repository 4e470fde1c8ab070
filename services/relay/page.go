package main

import (
	"embed"
	"html/template"
	"net/http"
	"time"

	"fault-tolerant-tracing/services/internal/consume"
	"fault-tolerant-tracing/services/internal/dispatch"
	"fault-tolerant-tracing/services/internal/ledger"
	"fault-tolerant-tracing/services/internal/look"
)

//go:embed page.html
var pages embed.FS

var page = template.Must(template.New("").Funcs(template.FuncMap{
	"rounded": func(d time.Duration) time.Duration { return d.Round(100 * time.Millisecond) },
	"since":   func(t time.Time) time.Duration { return time.Since(t).Round(time.Second) },
}).ParseFS(pages, "page.html"))

// index answers GET / with a page for people.
func (r *relay) index(w http.ResponseWriter, _ *http.Request) {
	var data struct {
		Status  *consume.Status // nil: the relay waits for Kafka
		Holding bool
		Waiting int64
		Spans   uint64
		Jaeger  string
		Outage  *dispatch.Outage // the last one that is over
		Lost    ledger.DroppedSpans
	}
	data.Jaeger, data.Spans, data.Outage = r.endpoint.URL(), r.metrics.spans.Load(), r.outage.Load()
	data.Lost = r.ledger.Status().SpansDropped
	if consumer := r.consumer.Load(); consumer != nil {
		status := consumer.Status()
		data.Status, data.Holding = &status, status.State == dispatch.Holding
		for _, p := range status.Partitions {
			data.Waiting += max(0, p.Lag)
		}
	}
	look.Render(w, page, "page.html", data)
}
