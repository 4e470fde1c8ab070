package main

import (
	"sync"
	"time"

	"github.com/opentracing/opentracing-go"
	"github.com/opentracing/opentracing-go/ext"
	"github.com/opentracing/opentracing-go/log"

	"fault-tolerant-tracing/services/internal/dispatch"
)

// recovered takes in an outage that is over.
func (r *relay) recovered(o dispatch.Outage) {
	r.outage.Store(&o)
	r.traceOutage(o)
}

// refusals are the tries in a row by which nothing was taken. It is safe for several
// goroutines.
type refusals struct {
	mu          sync.Mutex
	going, last row
}

type row struct {
	began time.Time // of the try that began first
	tries int
}

func (r *refusals) add(began time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.going.tries == 0 || began.Before(r.going.began) {
		r.going.began = began
	}
	r.going.tries++
}

// end notes that something was taken.
func (r *refusals) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.going.tries > 0 {
		r.last, r.going = r.going, row{}
	}
}

// over returns the last row that has ended.
func (r *refusals) over() row {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// traceOutage writes a trace of one span, from the beginning of the first try that failed
// to the first success. It goes through tracing-topic as every other span does.
func (r *relay) traceOutage(o dispatch.Outage) {
	refused := r.refusals.over()
	span := r.tracer.StartSpan("outage", opentracing.StartTime(refused.began), opentracing.Tags{
		string(ext.SpanKind):    ext.SpanKindRPCClientEnum,
		string(ext.Component):   "relay",
		string(ext.PeerService): "jaeger",
		string(ext.HTTPUrl):     r.endpoint.URL(),
		string(ext.Error):       true,
		"attempts":              refused.tries,
		"records.held":          o.Records,
	})
	records := make([]opentracing.LogRecord, len(o.Errors))
	for i, text := range o.Errors {
		records[i] = opentracing.LogRecord{Timestamp: refused.began, Fields: []log.Field{log.Event("error"), log.Message(text)}}
	}
	span.FinishWithOptions(opentracing.FinishOptions{FinishTime: o.End, LogRecords: records})
}
