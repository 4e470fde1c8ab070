package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"fault-tolerant-tracing/tracing/kafkaclient"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

const (
	askTimeout = 3 * time.Second        // for one answer of Kafka at the start
	askAgain   = 250 * time.Millisecond // between two questions
)

// Admin asks a Kafka cluster about its topics, and changes them. It is safe for several goroutines. The caller closes it.
type Admin struct {
	*kafka.AdminClient
	producer *kafka.Producer // carries the AdminClient, which has no errors channel of its own
	drained  chan struct{}
	reason   atomic.Pointer[kafka.Error]
}

// NewAdmin makes an admin client without asking the cluster anything. librdkafka's log lines are left out: what keeps it from
// connecting is in Reason.
func NewAdmin(cluster kafkaclient.Cluster) (*Admin, error) {
	conf := cluster.ConfigMap()
	conf["go.logs.channel.enable"] = false
	conf["log_level"] = 0
	producer, err := kafka.NewProducer(&conf)
	if err != nil {
		return nil, fmt.Errorf("make a kafka client: %w", err)
	}
	a := &Admin{producer: producer, drained: make(chan struct{})}
	if a.AdminClient, err = kafka.NewAdminClientFromProducer(producer); err != nil {
		producer.Close()
		return nil, fmt.Errorf("make a kafka admin client: %w", err)
	}
	go func() {
		defer close(a.drained)
		for event := range producer.Events() {
			if e, ok := event.(kafka.Error); ok && e.Code() != kafka.ErrAllBrokersDown {
				a.reason.Store(&e)
			}
		}
	}()
	return a, nil
}

// Close releases the client.
func (a *Admin) Close() {
	a.AdminClient.Close()
	a.producer.Close()
	<-a.drained
}

// Describe returns what the cluster knows of these topics; those that are not there have an Error in their description. It
// creates none. It blocks for a few seconds at most when the cluster does not answer, and its error then says why.
func (a *Admin) Describe(ctx context.Context, topics ...string) ([]kafka.TopicDescription, error) {
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	result, err := a.DescribeTopics(asking, kafka.NewTopicCollectionOfTopicNames(topics), kafka.SetAdminRequestTimeout(askTimeout))
	if err == nil {
		return result.TopicDescriptions, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if reason := a.reason.Load(); reason != nil {
		return nil, *reason
	}
	return nil, err
}

// WaitForTopics blocks until the cluster answers and has all topics, however long that takes. It logs what it waits for when
// that changes, and not more. Its only errors are that of ctx and settings that librdkafka refuses.
func WaitForTopics(ctx context.Context, cluster kafkaclient.Cluster, log *slog.Logger, topics ...string) error {
	admin, err := NewAdmin(cluster)
	if err != nil {
		return err
	}
	defer admin.Close()
	brokers := strings.Join(cluster.Brokers, ",")
	waiting := ""
	for {
		missing, err := missingTopics(ctx, admin, topics)
		state := strings.Join(missing, ",")
		if err != nil {
			state = err.Error()
		}
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("wait for topics: %w", ctx.Err())
		case err == nil && len(missing) == 0:
			log.Info("kafka and topics are there", "brokers", brokers, "topics", strings.Join(topics, ","))
			return nil
		case state == waiting:
		case err != nil:
			log.Warn("waiting for kafka", "brokers", brokers, "err", err)
		default:
			log.Info("waiting for topics", "brokers", brokers, "topics", state)
		}
		waiting = state
		select {
		case <-ctx.Done():
		case <-time.After(askAgain):
		}
	}
}

func missingTopics(ctx context.Context, admin *Admin, topics []string) ([]string, error) {
	descriptions, err := admin.Describe(ctx, topics...)
	if err != nil {
		return nil, err
	}
	missing := slices.Clone(topics)
	for _, d := range descriptions {
		switch code := d.Error.Code(); code {
		case kafka.ErrNoError:
			missing = slices.DeleteFunc(missing, func(topic string) bool { return topic == d.Name })
		case kafka.ErrUnknownTopicOrPart, kafka.ErrUnknownTopic:
		default:
			return nil, errors.New(d.Name + ": " + d.Error.Error())
		}
	}
	return missing, nil
}
