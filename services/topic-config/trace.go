package main

import (
	"time"

	"github.com/opentracing/opentracing-go"
	"github.com/opentracing/opentracing-go/ext"
)

// trace reports the run as a trace, after the fact: before the topics are there,
// its spans would have nowhere to go. The spans are sent when the tracer closes.
func trace(tracer opentracing.Tracer, begin time.Time, results []*result) {
	root := tracer.StartSpan("create topics", opentracing.StartTime(begin), component)
	for _, r := range results {
		span := tracer.StartSpan("create "+r.topic.name, opentracing.ChildOf(root.Context()), opentracing.StartTime(r.begin),
			ext.SpanKindRPCClient, component,
			opentracing.Tag{Key: string(ext.PeerService), Value: "kafka"},
			opentracing.Tag{Key: string(ext.MessageBusDestination), Value: r.topic.name},
			opentracing.Tag{Key: "created", Value: r.created})
		span.FinishWithOptions(opentracing.FinishOptions{FinishTime: r.end})
	}
	root.Finish()
}

var component = opentracing.Tag{Key: string(ext.Component), Value: "confluent-kafka-go"}
