package main

import (
	"encoding/binary"

	"github.com/uber/jaeger-client-go"
	thrift "github.com/uber/jaeger-client-go/thrift-gen/jaeger"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	resource "go.opentelemetry.io/proto/slim/otlp/resource/v1"
	trace "go.opentelemetry.io/proto/slim/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// otlpNames are the tags that Jaeger's collector renames when it takes a batch
// of jaeger.thrift.
var otlpNames = map[string]string{
	jaeger.TracerHostnameTagKey:      "host.name",
	jaeger.JaegerClientVersionTagKey: "opencensus.exporterversion",
}

// asOTLP encodes a batch as otlp_proto, one resource with one scope: what
// Jaeger's collector makes of the same batch in Thrift.
func asOTLP(process *thrift.Process, spans []*thrift.Span) ([]byte, error) {
	attributes := append(attributesOf(process.Tags), stringAttribute("service.name", process.ServiceName))
	scope := &trace.ScopeSpans{}
	for _, s := range spans {
		scope.Spans = append(scope.Spans, otlpSpan(s))
	}
	return proto.Marshal(&trace.TracesData{ResourceSpans: []*trace.ResourceSpans{{
		Resource:   &resource.Resource{Attributes: attributes},
		ScopeSpans: []*trace.ScopeSpans{scope},
	}}})
}

func otlpSpan(s *thrift.Span) *trace.Span {
	begin := uint64(s.StartTime) * 1000
	return &trace.Span{
		TraceId:           binary.BigEndian.AppendUint64(make([]byte, 8), uint64(s.TraceIdLow)),
		SpanId:            binary.BigEndian.AppendUint64(nil, uint64(s.SpanId)),
		ParentSpanId:      binary.BigEndian.AppendUint64(nil, uint64(s.ParentSpanId)),
		Name:              s.OperationName,
		Kind:              trace.Span_SPAN_KIND_CONSUMER, // of the tag span.kind, which goes
		StartTimeUnixNano: begin,
		EndTimeUnixNano:   begin + uint64(s.Duration)*1000,
		Attributes:        attributesOf(s.Tags),
	}
}

func attributesOf(tags []*thrift.Tag) (attributes []*common.KeyValue) {
	for _, tag := range tags {
		key := tag.Key
		if name, renamed := otlpNames[key]; renamed {
			key = name
		}
		switch {
		case key == "span.kind":
		case tag.VType == thrift.TagType_LONG:
			attributes = append(attributes, &common.KeyValue{Key: key, Value: &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: tag.GetVLong()}}})
		default:
			attributes = append(attributes, stringAttribute(key, tag.GetVStr()))
		}
	}
	return attributes
}

func stringAttribute(key, value string) *common.KeyValue {
	return &common.KeyValue{Key: key, Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: value}}}
}
