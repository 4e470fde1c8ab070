package batch_test

import (
	"fmt"

	"fault-tolerant-tracing/tracing/batch"

	"github.com/uber/jaeger-client-go/thrift-gen/jaeger"
)

// A writer serializes each span once and assembles a record from the bytes; a
// carrier looks at the record's structure only.
func Example() {
	process, err := batch.EncodeProcess(&jaeger.Process{ServiceName: "stream-app"})
	if err != nil {
		fmt.Println(err)
		return
	}
	var spans []byte
	for id, name := range []string{"From_number-topic", "To_even-topic"} {
		if spans, err = batch.AppendSpan(spans, &jaeger.Span{TraceIdLow: 1, SpanId: int64(id + 1), OperationName: name}); err != nil {
			fmt.Println(err)
			return
		}
	}
	value := batch.Encode(process, spans, 2, 1, batch.Stats{})

	frame, err := batch.Parse(value)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(frame.Spans(), "spans")

	for _, half := range [][]byte{frame.Slice(0, 1), frame.Slice(1, 2)} {
		b, err := batch.Decode(half)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(b.Process.ServiceName, b.GetSeqNo(), b.Spans[0].OperationName)
	}
	// Output:
	// 2 spans
	// stream-app 1 From_number-topic
	// stream-app 1 To_even-topic
}

func ExampleParse_malformed() {
	_, err := batch.Parse([]byte("hello, world"))
	fmt.Println(err)
	// Output:
	// not a jaeger.thrift batch, byte 3: unknown type 104
}
