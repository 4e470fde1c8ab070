package kafkatrace_test

import (
	"fmt"

	"fault-tolerant-tracing/tracing/kafkatrace"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/opentracing/opentracing-go/mocktracer"
)

// A service reads a message from one topic and writes its answer to another
// one. The tracer would be one of package tracing.
func Example() {
	tracer := mocktracer.New()
	in, out := "even-topic", "sentence-topic"

	received := &kafka.Message{TopicPartition: kafka.TopicPartition{Topic: &in, Partition: 1, Offset: 4}}
	from := kafkatrace.StartConsumeSpan(tracer, received)

	answer := &kafka.Message{TopicPartition: kafka.TopicPartition{Topic: &out, Partition: kafka.PartitionAny}}
	to := kafkatrace.StartProduceSpan(tracer, from.Context(), answer)
	// The producer calls back with this when the broker has taken the message.
	kafkatrace.FinishProduceSpan(to, kafka.TopicPartition{Topic: &out, Partition: 0, Offset: 9}, nil)
	from.Finish()

	ids := map[int]string{0: "none"}
	for _, s := range []*mocktracer.MockSpan{from.(*mocktracer.MockSpan), to.(*mocktracer.MockSpan)} {
		ids[s.SpanContext.SpanID] = s.OperationName
		fmt.Println(s.OperationName, s.Tag("span.kind"), "partition", s.Tag("partition"), "offset", s.Tag("offset"), "parent:", ids[s.ParentID])
	}
	fmt.Println("the answer carries a context:", kafkatrace.Extract(tracer, answer) != nil)
	// Output:
	// From_even-topic consumer partition 1 offset 4 parent: none
	// To_sentence-topic producer partition 0 offset 9 parent: From_even-topic
	// the answer carries a context: true
}
