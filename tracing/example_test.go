package tracing_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"fault-tolerant-tracing/tracing"
	"fault-tolerant-tracing/tracing/batch"
	"fault-tolerant-tracing/tracing/kafkaclient"

	"github.com/opentracing/opentracing-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A service makes its tracer first and closes it last. Its spans lie on the topic
// then, whether Jaeger is there or not.
func Example() {
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "tracing-topic")) // stands for Kafka
	if err != nil {
		fmt.Println(err)
		return
	}
	defer broker.Close()

	tracer, closeTracer, err := tracing.New(tracing.Config{
		Service: "stream-app",
		Kafka:   kafkaclient.Cluster{Brokers: broker.ListenAddrs()},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	from := tracer.StartSpan("From_number-topic")
	tracer.StartSpan("To_even-topic", opentracing.ChildOf(from.Context())).Finish()
	from.Finish()

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := closeTracer(ctx); err != nil {
		fmt.Println(err)
	}

	printTopic(ctx, broker.ListenAddrs())
	// Output:
	// batch 1 of stream-app:
	//   To_even-topic
	//   From_number-topic
}

func printTopic(ctx context.Context, brokers []string) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics("tracing-topic"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
		b, err := batch.Decode(r.Value)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("batch %d of %s:\n", b.GetSeqNo(), b.Process.ServiceName)
		for _, s := range b.Spans {
			fmt.Println(" ", s.OperationName)
		}
	})
}

// Closing is bounded. What Kafka has not acknowledged by then is counted.
func ExampleLeftBehindError() {
	tracer, closeTracer, err := tracing.New(tracing.Config{
		Service: "stream-app",
		Kafka:   kafkaclient.Cluster{Brokers: []string{"127.0.0.1:1"}}, // nobody is there
		Logger:  slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	tracer.StartSpan("From_number-topic").Finish()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	err = closeTracer(ctx)
	var left *tracing.LeftBehindError
	if errors.As(err, &left) {
		fmt.Println("left behind:", left.Spans)
	}
	// Output:
	// left behind: 1
}
