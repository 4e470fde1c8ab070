// Package gokatrace traces a goka processor.
//
// Two wrappers work together. [Callback] starts a span From_<topic> for each
// message and hands its context to everything the callback emits.
// [ProducerBuilder] turns that context into a span To_<topic> of each emitted
// message, which ends when the broker has acknowledged the message or refused
// it: only goka's producer learns that, the callback is over by then. The
// context travels between processes in the headers uber-trace-id, read plain or
// URL-encoded, and, for OpenTelemetry, traceparent: see package propagation. One
// that is missing or malformed starts a new trace and never fails a message. Nor
// does baggage, of which that package tells how much travels.
//
// Messages of the loop topic are traced like any other; writes to the group
// table are not traced.
package gokatrace

import (
	"context"
	"errors"
	"hash"
	"maps"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"
	"github.com/opentracing/opentracing-go"
	"github.com/opentracing/opentracing-go/ext"
	"github.com/opentracing/opentracing-go/log"
)

const component = "goka"

var errNotReturned = errors.New("the callback did not return: it panicked")

// Callback returns cb with a span From_<topic> around each call, a child of the
// context in the message's headers. The context handed to cb carries the span:
// opentracing.SpanFromContext(ctx.Context()) gives it, and Emit and Loopback
// send its context along. The span ends when cb does. ctx.Fail tags it with the
// error it is given, any other panic of cb with one that says so, and the panic
// goes on, as goka demands.
func Callback(tracer opentracing.Tracer, cb goka.ProcessCallback) goka.ProcessCallback {
	return func(ctx goka.Context, msg any) {
		span := start(tracer, "From_", ext.SpanKindConsumerEnum, extract(tracer, ctx.Headers()), string(ctx.Topic()))
		setPosition(span, ctx.Partition(), ctx.Offset())
		traced := &tracedContext{gokaContext: ctx, span: span}
		returned := false
		defer func() {
			if !returned && !traced.failed {
				setError(span, errNotReturned)
			}
			span.Finish()
		}()
		cb(traced, msg)
		returned = true
	}
}

type gokaContext = goka.Context // embedded by this name, as Context is a method

// tracedContext is goka's context inside a span.
type tracedContext struct {
	gokaContext
	span   opentracing.Span
	failed bool // by Fail
}

func (c *tracedContext) Fail(err error) {
	c.failed = true
	setError(c.span, err)
	c.gokaContext.Fail(err)
}

func (c *tracedContext) Context() context.Context {
	return opentracing.ContextWithSpan(c.gokaContext.Context(), c.span)
}

func (c *tracedContext) Emit(topic goka.Stream, key string, value any, options ...goka.ContextOption) {
	c.gokaContext.Emit(topic, key, value, append(options[:len(options):len(options)], c.headers())...)
}

func (c *tracedContext) Loopback(key string, value any, options ...goka.ContextOption) {
	c.gokaContext.Loopback(key, value, append(options[:len(options):len(options)], c.headers())...)
}

func (c *tracedContext) headers() goka.ContextOption {
	headers := goka.Headers{}
	inject(c.span, headers)
	return goka.WithCtxEmitHeaders(headers)
}

// ProducerBuilder returns a builder of next's producer with a span To_<topic>
// for each message that comes with a trace context in its headers. The span is
// a child of that context, which its own replaces, and ends by the delivery's
// result: with partition and offset, or with the error. What tags returns for the
// message, if it is given, are further tags of it. Messages without a context pass
// as they are.
func ProducerBuilder(tracer opentracing.Tracer, next goka.ProducerBuilder, tags ...func(topic, key string, value []byte) opentracing.Tags) goka.ProducerBuilder {
	return func(brokers []string, clientID string, hasher func() hash.Hash32) (goka.Producer, error) {
		p, err := next(brokers, clientID, hasher)
		if err != nil {
			return nil, err
		}
		return producer{p, tracer, tags}, nil
	}
}

type producer struct {
	goka.Producer
	tracer opentracing.Tracer
	tags   []func(topic, key string, value []byte) opentracing.Tags
}

func (p producer) EmitWithHeaders(topic, key string, value []byte, headers goka.Headers) *goka.Promise {
	parent := extract(p.tracer, headers)
	if parent == nil {
		return p.Producer.EmitWithHeaders(topic, key, value, headers)
	}
	var more []opentracing.StartSpanOption
	for _, tags := range p.tags {
		more = append(more, tags(topic, key, value))
	}
	span := start(p.tracer, "To_", ext.SpanKindProducerEnum, parent, topic, more...)
	headers = maps.Clone(headers)
	inject(span, headers)
	return p.Producer.EmitWithHeaders(topic, key, value, headers).ThenWithMessage(func(msg *sarama.ProducerMessage, err error) {
		switch {
		case err != nil:
			setError(span, err)
		case msg != nil: // test doubles have none
			setPosition(span, msg.Partition, msg.Offset)
		}
		span.Finish()
	})
}

func start(tracer opentracing.Tracer, prefix string, kind ext.SpanKindEnum, parent opentracing.SpanContext, topic string, more ...opentracing.StartSpanOption) opentracing.Span {
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

func inject(span opentracing.Span, headers goka.Headers) {
	if err := span.Tracer().Inject(span.Context(), format, carrier(headers)); err != nil {
		setError(span, err) // the message goes out all the same
	}
}

func setPosition(span opentracing.Span, partition int32, offset int64) {
	span.SetTag("partition", partition)
	span.SetTag("offset", offset)
}

func setError(span opentracing.Span, err error) {
	ext.LogError(span, err, log.Message(err.Error()))
}
