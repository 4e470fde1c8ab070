package kafkatrace

import (
	"strings"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/opentracing/opentracing-go"
)

// format is the one of the two textual OpenTracing formats that jaeger-client
// reads plain and URL-encoded (old Java clients write the latter), while it
// writes the trace context plain in both.
const format = opentracing.HTTPHeaders

// carrier lets a tracer read and write the headers of one message. Kafka allows
// several headers of one name: the last one counts. Names are compared without
// regard to case, as jaeger-client does.
type carrier struct{ msg *kafka.Message }

var (
	_ opentracing.TextMapReader = carrier{}
	_ opentracing.TextMapWriter = carrier{}
)

// Set replaces every header of that name by one.
func (c carrier) Set(key, value string) {
	c.DeleteFunc(func(name string) bool { return strings.EqualFold(name, key) })
	c.msg.Headers = append(c.msg.Headers, kafka.Header{Key: key, Value: []byte(value)})
}

// DeleteFunc removes every header whose name del wants removed. The old list of
// headers is left as it is: a forwarded message may share it with the one it came
// from.
func (c carrier) DeleteFunc(del func(name string) bool) {
	others := make([]kafka.Header, 0, len(c.msg.Headers)+1) // Set adds one
	for _, h := range c.msg.Headers {
		if !del(h.Key) {
			others = append(others, h)
		}
	}
	c.msg.Headers = others
}

// ForeachKey calls handler with each header that counts, until it fails.
func (c carrier) ForeachKey(handler func(key, value string) error) error {
	last := make(map[string]int, len(c.msg.Headers))
	for i, h := range c.msg.Headers {
		last[strings.ToLower(h.Key)] = i
	}
	for i, h := range c.msg.Headers {
		if last[strings.ToLower(h.Key)] != i {
			continue
		}
		if err := handler(h.Key, string(h.Value)); err != nil {
			return err
		}
	}
	return nil
}
