package otelkafka_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/numbering"
	"fault-tolerant-tracing/tracing/otelkafka"
	"fault-tolerant-tracing/tracing/otlp"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// A service makes its provider first and shuts it down last. Its spans lie on the
// topic then, whether the backend is there or not.
func Example() {
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "tracing-topic")) // stands for Kafka
	if err != nil {
		fmt.Println(err)
		return
	}
	defer broker.Close()
	os.Setenv("OTEL_SERVICE_NAME", "checkout") // comes with the deployment
	defer os.Unsetenv("OTEL_SERVICE_NAME")
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	exporter, err := otelkafka.New(otelkafka.Config{
		Kafka: kafkaclient.Cluster{Brokers: broker.ListenAddrs()},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	service, err := resource.New(ctx, resource.WithFromEnv(), resource.WithTelemetrySDK())
	if err != nil {
		fmt.Println(err)
		return
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithResource(service),
		sdktrace.WithBatcher(exporter,
			sdktrace.WithMaxQueueSize(10_000),       // what the SDK drops beyond it is counted nowhere
			sdktrace.WithBatchTimeout(time.Second))) // what a process that is killed takes along
	tracer := provider.Tracer("shop")

	ctx, order := tracer.Start(ctx, "POST /order")
	_, payment := tracer.Start(ctx, "pay")
	payment.End()
	order.End()
	if err := provider.Shutdown(ctx); err != nil {
		fmt.Println(err)
	}

	printTopic(ctx, broker.ListenAddrs())
	// Output:
	// record 1 of checkout: 2 spans, lost full_queue=0 too_large=0 failed_to_emit=0
}

func printTopic(ctx context.Context, brokers []string) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics("tracing-topic"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
		headers := map[string][]byte{}
		for _, h := range r.Headers {
			headers[h.Key] = h.Value
		}
		seqNo, _ := numbering.ParseSeqNo(headers[numbering.SeqNoHeader])
		losses, _ := numbering.ParseLosses(headers[numbering.LossesHeader])
		request, err := otlp.Parse(r.Value)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("record %d of %s: %d spans, lost %s\n", seqNo, request.Service(), request.Spans(), losses)
	})
}

// Shutting down is bounded. What Kafka has not acknowledged by then is counted. The
// provider may tell only that its time is over: ask the exporter.
func ExampleExporter_Shutdown() {
	exporter, err := otelkafka.New(otelkafka.Config{
		Kafka:  kafkaclient.Cluster{Brokers: []string{"127.0.0.1:1"}}, // nobody is there
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter))
	_, order := provider.Tracer("shop").Start(context.Background(), "POST /order")
	order.End()

	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	err = errors.Join(provider.Shutdown(ctx), exporter.Shutdown(ctx))
	var left *otelkafka.LeftBehindError
	if errors.As(err, &left) {
		fmt.Println("left behind:", left.Spans)
	}
	// Output:
	// left behind: 1
}
