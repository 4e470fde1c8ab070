package wire

// Field numbers of opentelemetry/proto/trace/v1 and its neighbours.
const (
	RequestResourceSpans = 1

	ResourceSpansResource   = 1
	ResourceSpansScopeSpans = 2
	ResourceAttributes      = 1
	ScopeSpansScope         = 1
	ScopeSpansSpans         = 2

	SpanTraceID    = 1
	SpanSpanID     = 2
	SpanParentID   = 4
	SpanName       = 5
	SpanKind       = 6
	SpanStart      = 7
	SpanEnd        = 8
	SpanAttributes = 9
	SpanEvents     = 11
	SpanLinks      = 13
	SpanStatus     = 15
	SpanFlags      = 16

	EventTime       = 1
	EventName       = 2
	EventAttributes = 3

	LinkTraceID    = 1
	LinkSpanID     = 2
	LinkAttributes = 4

	StatusMessage = 2
	StatusCode    = 3

	KeyValueKey   = 1
	KeyValueValue = 2

	AnyString = 1
	AnyBool   = 2
	AnyInt    = 3
	AnyDouble = 4
	AnyBytes  = 7
)
