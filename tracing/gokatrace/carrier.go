package gokatrace

import (
	"maps"
	"strings"

	"github.com/lovoo/goka"
	"github.com/opentracing/opentracing-go"
)

// format is the one of the two textual OpenTracing formats that jaeger-client
// reads plain and URL-encoded (old Java clients write the latter), while it
// writes the trace context plain in both.
const format = opentracing.HTTPHeaders

// carrier lets a tracer read and write goka's headers. Names are compared
// without regard to case, as jaeger-client does; of several that are alike then,
// the one in lower case counts, which is how it writes its own.
type carrier goka.Headers

var (
	_ opentracing.TextMapReader = carrier{}
	_ opentracing.TextMapWriter = carrier{}
)

// Set replaces every header of that name by one.
func (c carrier) Set(key, value string) {
	c.DeleteFunc(func(name string) bool { return strings.EqualFold(name, key) })
	c[key] = []byte(value)
}

// DeleteFunc removes every header whose name del wants removed.
func (c carrier) DeleteFunc(del func(name string) bool) {
	maps.DeleteFunc(c, func(name string, _ []byte) bool { return del(name) })
}

// ForeachKey calls handler with each header that counts, until it fails.
func (c carrier) ForeachKey(handler func(key, value string) error) error {
	counts := make(map[string]string, len(c))
	for k := range c {
		lower := strings.ToLower(k)
		counts[lower] = max(counts[lower], k) // lower case sorts behind upper case
	}
	for _, k := range counts {
		if err := handler(k, string(c[k])); err != nil {
			return err
		}
	}
	return nil
}

// extract returns the context in headers, nil if there is none or it makes no
// sense.
func extract(tracer opentracing.Tracer, headers goka.Headers) opentracing.SpanContext {
	sc, err := tracer.Extract(format, carrier(headers))
	if err != nil {
		return nil
	}
	return sc
}
