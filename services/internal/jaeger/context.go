package jaeger

import (
	"strings"

	"github.com/uber/jaeger-client-go"
)

// ContextHeader is the header that a trace context travels in.
const ContextHeader = jaeger.TraceContextHeaderName

// TraceOf returns the id of the trace that a trace context names, and "" if it is malformed.
func TraceOf(context string) string {
	flags := strings.LastIndex(context, ":") + 1 // jaeger-client writes them in hexadecimal and reads them as decimal: it refuses the b it has written
	c, err := jaeger.ContextFromString(context[:flags] + "0")
	if err != nil {
		return ""
	}
	return c.TraceID().String()
}
