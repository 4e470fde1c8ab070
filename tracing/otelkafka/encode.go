package otelkafka

import (
	"strings"
	"unicode/utf8"

	"fault-tolerant-tracing/tracing/otlp"

	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protopath"
	"google.golang.org/protobuf/reflect/protorange"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// encode makes a request of spans. Text that is no UTF-8, which Protocol Buffers do
// not admit, is repaired: the SDK lets it pass, and one span must not take the others
// along. An error is left for attributes that are nested deeper than readers go.
func encode(spans []*tracepb.ResourceSpans) (otlp.Request, error) {
	request := &tracepb.TracesData{ResourceSpans: spans} // the same bytes as ExportTraceServiceRequest, without gRPC
	value, err := proto.Marshal(request)
	if err != nil {
		if err := protorange.Range(request.ProtoReflect(), repair); err != nil {
			return otlp.Request{}, err
		}
		if value, err = proto.Marshal(request); err != nil {
			return otlp.Request{}, err
		}
	}
	return otlp.Parse(value)
}

// repair puts U+FFFD in the place of what is no UTF-8 in a field of a message.
func repair(at protopath.Values) error {
	field, parent := at.Index(-1), at.Index(-2)
	text, ok := field.Value.Interface().(string)
	if ok && !utf8.ValidString(text) {
		parent.Value.Message().Set(field.Step.FieldDescriptor(), protoreflect.ValueOfString(strings.ToValidUTF8(text, "\ufffd")))
	}
	return nil
}

func count(spans []*tracepb.ResourceSpans) (n int) {
	for _, resource := range spans {
		for _, scope := range resource.ScopeSpans {
			n += len(scope.Spans)
		}
	}
	return n
}

// withoutSpans makes a request that says only whose it is.
func withoutSpans(resource *resourcepb.Resource) []byte {
	value, _ := proto.Marshal(&tracepb.TracesData{ResourceSpans: []*tracepb.ResourceSpans{{Resource: resource}}}) // was encoded before
	return value
}

// nameOf returns the name of the only span of a request.
func nameOf(r otlp.Request) string {
	decoded, err := otlp.Decode(r.Bytes())
	if err != nil {
		return err.Error()
	}
	return decoded.ResourceSpans[0].ScopeSpans[0].Spans[0].Name
}

// split is an outbox.Split.
func split(value []byte, n int) (first, second []byte, err error) {
	r, err := otlp.Parse(value)
	if err != nil {
		return nil, nil, err
	}
	return r.Slice(nil, 0, n), r.Slice(nil, n, r.Spans()), nil
}
