package gokatrace_test

import (
	"context"
	"fmt"
	"testing"

	"fault-tolerant-tracing/tracing/gokatrace"

	"github.com/lovoo/goka"
	"github.com/lovoo/goka/codec"
	"github.com/lovoo/goka/tester"
	"github.com/opentracing/opentracing-go/mocktracer"
)

// A processor passes numbers on. With a real broker the options would be
// goka.WithProducerBuilder(gokatrace.ProducerBuilder(tracer,
// goka.ProducerBuilderWithConfig(config))) and no tester.
func Example() {
	tracer := mocktracer.New()
	graph := goka.DefineGroup("stream-app",
		goka.Input("number-topic", new(codec.Int64), gokatrace.Callback(tracer, func(ctx goka.Context, msg any) {
			ctx.Emit("even-topic", ctx.Key(), msg)
		})),
		goka.Output("even-topic", new(codec.Int64)),
	)

	gt := tester.New(new(testing.T))
	processor, err := goka.NewProcessor(nil, graph, goka.WithTester(gt),
		goka.WithProducerBuilder(gokatrace.ProducerBuilder(tracer, gt.ProducerBuilder())))
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- processor.Run(ctx) }()
	gt.Consume("number-topic", "six", int64(6))
	cancel()
	if err := <-done; err != nil {
		fmt.Println(err)
	}

	from, to := tracer.FinishedSpans()[1], tracer.FinishedSpans()[0]
	fmt.Println(from.OperationName, from.Tag("span.kind"), "offset", from.Tag("offset"))
	fmt.Println(to.OperationName, to.Tag("span.kind"), "offset", to.Tag("offset"))
	fmt.Println("child of it:", to.ParentID == from.SpanContext.SpanID)
	// Output:
	// From_number-topic consumer offset 0
	// To_even-topic producer offset 0
	// child of it: true
}
