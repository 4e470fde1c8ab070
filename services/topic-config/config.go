package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"fault-tolerant-tracing/services/internal/deadletter"
	"fault-tolerant-tracing/services/internal/kafkaadmin"
	"fault-tolerant-tracing/services/internal/service"
	"fault-tolerant-tracing/tracing/kafkaclient"
)

type config struct {
	Topics service.Topics

	Partitions        int           `env:"TOPIC_PARTITIONS" envDefault:"3" help:"partitions of the topics with data"`
	TracingPartitions int           `env:"TRACING_PARTITIONS" envDefault:"6" help:"partitions of TRACING_TOPIC"`
	DLQPartitions     int           `env:"DLQ_PARTITIONS" envDefault:"1" help:"partitions of the dead-letter topics"`
	Replication       int           `env:"TOPIC_REPLICATION" envDefault:"1" help:"replicas of each partition"`
	Retention         time.Duration `env:"TOPIC_RETENTION" envDefault:"168h" help:"how long the topics with data keep a record"`
	TracingRetention  time.Duration `env:"TRACING_RETENTION" envDefault:"168h" help:"how long TRACING_TOPIC keeps a record: the longest outage of Jaeger without loss"`
	DLQRetention      time.Duration `env:"DLQ_RETENTION" envDefault:"720h" help:"how long the dead-letter topics keep a record"`

	Kafka   service.Kafka
	Tracing service.Tracing
	Common  service.Common
}

// topic is one that is wanted, and its settings.
type topic struct {
	name        string
	partitions  int
	replication int
	retention   time.Duration
	maxBytes    int // 0: the broker's default
}

// target is a cluster and the topics it must have.
type target struct {
	cluster kafkaclient.Cluster
	topics  []topic
}

// targets returns the cluster with the data and tracing's, or one when they are
// the same.
func (c config) targets() []target {
	plain := func(name string) topic {
		return topic{name: name, partitions: c.Partitions, replication: c.Replication, retention: c.Retention}
	}
	dlq := func(name string) topic {
		return topic{name: name, partitions: c.DLQPartitions, replication: c.Replication, retention: c.DLQRetention, maxBytes: deadletter.MaxBytes}
	}
	topics := []topic{
		plain(c.Topics.Number), plain(c.Topics.Odd), plain(c.Topics.Even), plain(c.Topics.Sentence), plain(c.Topics.Answer),
		dlq(c.Topics.NumberDLQ), dlq(c.Topics.EvenDLQ), dlq(c.Topics.SentenceDLQ), dlq(c.Topics.AnswerDLQ),
	}
	spans := []topic{
		{name: c.Tracing.Topic, partitions: c.TracingPartitions, replication: c.Replication, retention: c.TracingRetention},
		dlq(c.Topics.TracingDLQ),
	}
	data, tracing := c.Kafka.Cluster(), c.Tracing.Kafka.Cluster()
	if reflect.DeepEqual(data, tracing) {
		return []target{{data, append(topics, spans...)}}
	}
	return []target{{data, topics}, {tracing, spans}}
}

// HealthCheck implements service.HealthChecker: all is well if every topic is
// there.
func (c config) HealthCheck(ctx context.Context) error {
	var errs []error
	for _, t := range c.targets() {
		errs = append(errs, checkTopics(ctx, t))
	}
	return errors.Join(errs...)
}

func checkTopics(ctx context.Context, t target) error {
	admin, err := kafkaadmin.New(t.cluster)
	if err != nil {
		return err
	}
	defer admin.Close()
	descriptions, err := admin.Describe(ctx, names(t.topics)...)
	if err != nil {
		return fmt.Errorf("ask %s for its topics: %w", strings.Join(t.cluster.Brokers, ","), err)
	}
	if missing := kafkaadmin.Missing(descriptions); len(missing) > 0 {
		return fmt.Errorf("missing topics: %s", strings.Join(missing, ", "))
	}
	return nil
}

func names(topics []topic) []string {
	list := make([]string, len(topics))
	for i, t := range topics {
		list[i] = t.name
	}
	return list
}
