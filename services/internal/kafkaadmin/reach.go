package kafkaadmin

import (
	"context"
	"fmt"
	"strings"
	"time"

	"fault-tolerant-tracing/tracing/kafkaclient"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// patience is how long a command waits for Kafka: enough for a broker that is being started.
const patience = 10 * time.Second

// Reach returns nil if the cluster answers and has these topics. It waits 10 seconds at most for the answer. It is for commands
// that end by themselves; a service waits with WaitForTopics. Its errors are sentences for whoever typed the command.
func Reach(ctx context.Context, cluster kafkaclient.Cluster, topics ...string) error {
	admin, err := New(cluster)
	if err != nil {
		return err
	}
	defer admin.Close()
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		descriptions, err := admin.Describe(waiting, topics...)
		switch {
		case err == nil:
			return usable(descriptions, admin.brokers)
		case ctx.Err() != nil:
			return ctx.Err()
		case waiting.Err() != nil:
			return fmt.Errorf("kafka at %s does not answer: %w", admin.brokers, err)
		}
		pause(waiting)
	}
}

// usable tells of the first topic that is not there or cannot be used.
func usable(descriptions []kafka.TopicDescription, brokers string) error {
	for _, d := range descriptions {
		switch d.Error.Code() {
		case kafka.ErrNoError:
		case kafka.ErrUnknownTopicOrPart:
			return fmt.Errorf("kafka at %s has no topic %s", brokers, d.Name)
		default:
			return fmt.Errorf("kafka at %s refuses topic %s: %s", brokers, d.Name, strings.TrimPrefix(d.Error.String(), "Broker: "))
		}
	}
	return nil
}
