// Package kafkatrace carries a trace through Kafka with confluent-kafka-go.
//
// A consumer starts a span From_<topic> for each message it handles, a producer
// a span To_<topic> for each message it sends; the context travels between them
// in the headers uber-trace-id and, for OpenTelemetry, traceparent: see package
// propagation. A From_ span is a child of the To_ span that wrote the record, a
// To_ span a child of whatever caused it, and it ends when the broker has
// acknowledged the message or refused it.
//
// A context that is missing or malformed never fails a message: it starts a new
// trace. Nor does baggage, of which package propagation tells how much travels.
// The package reports no span and sends no message by itself; that is up
// to the tracer and the producer it is given. All functions are safe for
// concurrent use with different messages.
package kafkatrace

import (
	"context"

	"fault-tolerant-tracing/tracing/kafkaclient"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/opentracing/opentracing-go"
	"github.com/opentracing/opentracing-go/ext"
	"github.com/opentracing/opentracing-go/log"
)

const component = "confluent-kafka-go"

// Extract returns the context that the message's headers carry, uber-trace-id
// plain or URL-encoded, and nil if there is none or it makes no sense. It may be a context
// without a span, for a trace to start with: a debug id, or baggage.
func Extract(tracer opentracing.Tracer, msg *kafka.Message) opentracing.SpanContext {
	sc, err := tracer.Extract(format, carrier{msg})
	if err != nil {
		return nil
	}
	return sc
}

// StartConsumeSpan starts the span From_<topic> of a consumed message, as a
// child of the context in its headers or as the root of a new trace. The caller
// finishes it.
func StartConsumeSpan(tracer opentracing.Tracer, msg *kafka.Message) opentracing.Span {
	span := start(tracer, "From_", ext.SpanKindConsumerEnum, Extract(tracer, msg), msg)
	setPosition(span, msg.TopicPartition)
	return span
}

// StartProduceSpan starts the span To_<topic> of a message that is about to be
// produced and writes its context into the message's headers, in place of one
// that is there. parent nil starts a new trace. more may set tags. The caller hands
// the delivery result to [FinishProduceSpan].
func StartProduceSpan(tracer opentracing.Tracer, parent opentracing.SpanContext, msg *kafka.Message, more ...opentracing.StartSpanOption) opentracing.Span {
	span := start(tracer, "To_", ext.SpanKindProducerEnum, parent, msg, more...)
	if err := tracer.Inject(span.Context(), format, carrier{msg}); err != nil {
		SetError(span, err) // the message goes out all the same
	}
	return span
}

// FinishProduceSpan ends the span of a produced message: with its partition and
// offset, or with the error that kept it from being delivered.
func FinishProduceSpan(span opentracing.Span, tp kafka.TopicPartition, err error) {
	if err != nil {
		SetError(span, err)
	} else {
		setPosition(span, tp)
	}
	span.Finish()
}

// Send produces msg under a span To_<topic>, a child of the span in ctx if there
// is one, and waits as [kafkaclient.Producer.Send] does, whose results it
// returns. msg gets the span's context in its headers; sent once more, it gets a
// span of its own each time.
func Send(ctx context.Context, tracer opentracing.Tracer, p *kafkaclient.Producer, msg *kafka.Message, more ...opentracing.StartSpanOption) (kafka.TopicPartition, error) {
	span := StartProduceSpan(tracer, caller(ctx), msg, more...)
	tp, err := p.Send(ctx, msg)
	FinishProduceSpan(span, tp, err)
	return tp, err
}

// Enqueue is Send for one of several messages: it does not wait for the delivery
// report, which done is given as [kafkaclient.Producer.Enqueue] says.
func Enqueue(ctx context.Context, tracer opentracing.Tracer, p *kafkaclient.Producer, msg *kafka.Message, done func(kafka.TopicPartition, error), more ...opentracing.StartSpanOption) error {
	span := StartProduceSpan(tracer, caller(ctx), msg, more...)
	err := p.Enqueue(ctx, msg, func(tp kafka.TopicPartition, err error) {
		FinishProduceSpan(span, tp, err)
		done(tp, err)
	})
	if err != nil {
		FinishProduceSpan(span, msg.TopicPartition, err)
	}
	return err
}

// caller returns the context of the span in ctx; nil: there is none.
func caller(ctx context.Context) opentracing.SpanContext {
	if span := opentracing.SpanFromContext(ctx); span != nil {
		return span.Context()
	}
	return nil
}

// SetError marks the span as failed: the tag error=true, and a log with the
// error's message.
func SetError(span opentracing.Span, err error) {
	ext.LogError(span, err, log.Message(err.Error()))
}

func start(tracer opentracing.Tracer, prefix string, kind ext.SpanKindEnum, parent opentracing.SpanContext, msg *kafka.Message, more ...opentracing.StartSpanOption) opentracing.Span {
	var topic string
	if msg.TopicPartition.Topic != nil {
		topic = *msg.TopicPartition.Topic
	}
	options := append([]opentracing.StartSpanOption{opentracing.Tags{
		string(ext.SpanKind):              kind,
		string(ext.Component):             component,
		string(ext.PeerService):           "kafka",
		string(ext.MessageBusDestination): topic,
	}}, more...)
	if parent != nil {
		options = append(options, opentracing.ChildOf(parent))
	}
	return tracer.StartSpan(prefix+topic, options...)
}

func setPosition(span opentracing.Span, tp kafka.TopicPartition) {
	span.SetTag("partition", tp.Partition)
	span.SetTag("offset", int64(tp.Offset))
}
