package main

import (
	"fmt"

	"fault-tolerant-tracing/tracing/gokatrace"

	"github.com/lovoo/goka"
	"github.com/lovoo/goka/codec"
	"github.com/opentracing/opentracing-go"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// maxKey is how many bytes of a number become the key of its record, so
	// that a long one is not in it twice.
	maxKey = 256

	// maxNumber is how many bytes of a number are passed on at most, which makes
	// 1 MB with the key. Brokers take 1 048 588 bytes by default, and maxMessage is
	// 1 048 576: 48 kB are left for framing, the trace headers, and the 8 KiB that
	// baggage may have.
	maxNumber = 1_000_000 - maxKey
)

// numberValue is the tag by which a number's trace is found. Of a long one the tracer keeps
// the beginning.
const numberValue = "number.value"

// numberTags are those of the span of a number that is passed on.
func numberTags(_, _ string, n []byte) opentracing.Tags {
	return opentracing.Tags{numberValue: string(n)}
}

// sorter is what stream does with one message. It is safe for several
// goroutines.
type sorter struct {
	even, odd goka.Stream
	aside     *deadLetters
	sorted    *prometheus.CounterVec
}

// graph tells goka what to read and write. Bytes are the codec that cannot fail:
// an error of a codec would stop the processor.
func graph(cfg config, tracer opentracing.Tracer, s *sorter) *goka.GroupGraph {
	return goka.DefineGroup(group,
		goka.Input(goka.Stream(cfg.NumberTopic), new(codec.Bytes), gokatrace.Callback(tracer, s.sort)),
		goka.Output(s.even, new(codec.Bytes)),
		goka.Output(s.odd, new(codec.Bytes)),
	)
}

// sort writes one message for each it is given, and goka commits none before its
// result is safe. msg is nil for a null value.
func (s *sorter) sort(ctx goka.Context, msg any) {
	value, _ := msg.([]byte)
	n, err := parse(value)
	if err == nil && len(n) > maxNumber {
		err = fmt.Errorf("an integer too long for a record: %d bytes, at most %d", len(n), maxNumber)
	}
	if err != nil {
		s.aside.setAside(ctx, value, err, s.sorted.WithLabelValues("set_aside").Inc)
		return
	}
	opentracing.SpanFromContext(ctx.Context()).SetTag(numberValue, string(n))
	topic, result := s.odd, "odd"
	if n.even() {
		topic, result = s.even, "even"
	}
	// Numbers come without a key, and an empty key would put all of them on one partition.
	ctx.Emit(topic, string(n[max(0, len(n)-maxKey):]), []byte(n))
	s.sorted.WithLabelValues(result).Inc()
}
