package main

import (
	"fmt"
	"log/slog"

	"fault-tolerant-tracing/services/internal/deadletter"
	"fault-tolerant-tracing/tracing/gokatrace"
	"fault-tolerant-tracing/tracing/kafkatrace"

	"github.com/lovoo/goka"
	"github.com/lovoo/goka/codec"
	"github.com/opentracing/opentracing-go"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// maxKey is how many bytes of a number become the key of its record, so
	// that a long one is not in it twice.
	maxKey = 256

	// maxRecord is how many bytes of key, value and headers stream writes at
	// most. Brokers take 1 048 588 by default, framing and trace header included.
	maxRecord = 1_000_000
)

// sorter is what stream does with one message. It is safe for several
// goroutines.
type sorter struct {
	even, odd, deadLetters goka.Stream
	sorted                 *prometheus.CounterVec
	log                    *slog.Logger
}

// graph tells goka what to read and write. Bytes are the codec that cannot fail:
// an error of a codec would stop the processor.
func graph(cfg config, tracer opentracing.Tracer, s *sorter) *goka.GroupGraph {
	return goka.DefineGroup(group,
		goka.Input(goka.Stream(cfg.NumberTopic), new(codec.Bytes), gokatrace.Callback(tracer, s.sort)),
		goka.Output(s.even, new(codec.Bytes)),
		goka.Output(s.odd, new(codec.Bytes)),
		goka.Output(s.deadLetters, new(codec.Bytes)),
	)
}

// sort emits one message for each it is given, so that goka commits none before
// its result is safe. msg is nil for a null value.
func (s *sorter) sort(ctx goka.Context, msg any) {
	value, _ := msg.([]byte)
	n, err := parse(value)
	if err == nil && len(n) > maxRecord-maxKey {
		err = fmt.Errorf("an integer too long for a record: %d bytes, at most %d", len(n), maxRecord-maxKey)
	}
	if err != nil {
		s.setAside(ctx, value, err)
		return
	}
	opentracing.SpanFromContext(ctx.Context()).SetTag("number.value", string(n))
	topic, result := s.odd, "odd"
	if n.even() {
		topic, result = s.even, "even"
	}
	// Numbers come without a key, and an empty key would put all of them on one partition.
	ctx.Emit(topic, string(n[max(0, len(n)-maxKey):]), []byte(n))
	s.sorted.WithLabelValues(result).Inc()
}

// setAside passes the record on as it is, but for a null key, which goka shows
// as an empty one.
func (s *sorter) setAside(ctx goka.Context, value []byte, reason error) {
	kafkatrace.SetError(opentracing.SpanFromContext(ctx.Context()), reason)
	place := goka.Headers(deadletter.Headers(string(ctx.Topic()), ctx.Partition(), ctx.Offset(), reason))
	key, headers := ctx.Key(), ctx.Headers().Merged(place)
	if size(key, value, headers) > maxRecord {
		// It must not block what is behind it; the whole of it is where the headers say.
		place["dlq.truncated"] = []byte("true")
		key, value, headers = key[:min(len(key), maxKey)], value[:min(len(value), maxRecord/2)], place
	}
	ctx.Emit(s.deadLetters, key, value, goka.WithCtxEmitHeaders(headers))
	s.log.Warn("record set aside", "topic", string(ctx.Topic()), "partition", ctx.Partition(), "offset", ctx.Offset(), "err", reason)
	s.sorted.WithLabelValues("set_aside").Inc()
}

func size(key string, value []byte, headers goka.Headers) int {
	n := len(key) + len(value)
	for k, v := range headers {
		n += len(k) + len(v)
	}
	return n
}
