package main

import (
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

// traceOutage writes a trace of one span, from the first failure to the first
// success. It goes through tracing-topic as every other span does.
func (r *relay) traceOutage(o dispatch.Outage) {
	span := r.tracer.StartSpan("outage", opentracing.StartTime(o.Began), opentracing.Tags{
		string(ext.SpanKind):    ext.SpanKindRPCClientEnum,
		string(ext.Component):   "relay",
		string(ext.PeerService): "jaeger",
		string(ext.HTTPUrl):     r.endpoint.URL(),
		string(ext.Error):       true,
		"attempts":              o.Attempts,
		"records.held":          o.Records,
	})
	records := make([]opentracing.LogRecord, len(o.Errors))
	for i, text := range o.Errors {
		records[i] = opentracing.LogRecord{Timestamp: o.Began, Fields: []log.Field{log.Event("error"), log.Message(text)}}
	}
	span.FinishWithOptions(opentracing.FinishOptions{FinishTime: o.End, LogRecords: records})
}
