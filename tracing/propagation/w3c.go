package propagation

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/uber/jaeger-client-go"
	"golang.org/x/net/http/httpguts"
)

// The headers of W3C Trace Context, https://www.w3.org/TR/trace-context/.
const (
	traceparentHeader = "traceparent"
	tracestateHeader  = "tracestate"
)

// sampled is the flag of a sampled trace, in traceparent and in uber-trace-id alike.
const sampled = 1

// maxStateBytes is how much of a tracestate travels: as much as the specification
// asks for.
const maxStateBytes = 512

// parseParent returns the context that a traceparent holds. It is not valid if the
// traceparent is malformed. Of a version to come it reads the part that, by the
// specification, stays as it is.
func parseParent(traceparent string) jaeger.SpanContext {
	version, rest, _ := strings.Cut(traceparent, "-")
	trace, rest, _ := strings.Cut(rest, "-")
	span, rest, _ := strings.Cut(rest, "-")
	flags, _, more := strings.Cut(rest, "-")
	wellFormed := isHex(version, 2) && isHex(trace, 32) && isHex(span, 16) && isHex(flags, 2)
	if !wellFormed || version == "ff" || version == "00" && more {
		return jaeger.SpanContext{}
	}
	traceID, _ := jaeger.TraceIDFromString(trace) // digits do not fail
	spanID, _ := jaeger.SpanIDFromString(span)
	bits, _ := strconv.ParseUint(flags, 16, 8)
	return jaeger.NewSpanContext(traceID, spanID, 0, bits&sampled != 0, nil)
}

// isHex tells whether s is so many hexadecimal digits, in lower case.
func isHex(s string, digits int) bool {
	return len(s) == digits && strings.Trim(s, "0123456789abcdef") == ""
}

// formatParent returns the traceparent of a context.
func formatParent(sc jaeger.SpanContext) string {
	return fmt.Sprintf("00-%016x%016x-%016x-%02x", sc.TraceID().High, sc.TraceID().Low, uint64(sc.SpanID()), sc.Flags()&sampled)
}

// limitState returns the first members of a tracestate that have room in
// maxStateBytes, and none of one that no header may have.
func limitState(tracestate string) string {
	if !httpguts.ValidHeaderFieldValue(tracestate) {
		return ""
	}
	if len(tracestate) > maxStateBytes {
		return tracestate[:max(0, strings.LastIndexByte(tracestate[:maxStateBytes+1], ','))]
	}
	return tracestate
}

// stateKey is where the spans of a trace have their tracestate in this process.
type stateKey struct{}

// stateOf returns the tracestate of a context; the first call for a trace says
// what it is. It lies where jaeger-client keeps what all spans of a trace share.
func stateOf(sc jaeger.SpanContext, first string) string {
	return sc.ExtendedSamplingState(stateKey{}, func() any { return first }).(string)
}
