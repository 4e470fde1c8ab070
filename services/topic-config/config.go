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
	NumberTopic   string `env:"NUMBER_TOPIC" envDefault:"number-topic" help:"topic with the numbers"`
	OddTopic      string `env:"ODD_TOPIC" envDefault:"odd-topic" help:"topic with the odd ones"`
	EvenTopic     string `env:"EVEN_TOPIC" envDefault:"even-topic" help:"topic with the even ones"`
	SentenceTopic string `env:"SENTENCE_TOPIC" envDefault:"sentence-topic" help:"topic with the sentences"`
	AnswerTopic   string `env:"ANSWER_TOPIC" envDefault:"answer-topic" help:"topic with the answers"`
	NumberDLQ     string `env:"NUMBER_DLQ" envDefault:"number-dlq" help:"topic with what stream set aside"`
	EvenDLQ       string `env:"EVEN_DLQ" envDefault:"even-dlq" help:"topic with what sentence set aside"`
	SentenceDLQ   string `env:"SENTENCE_DLQ" envDefault:"sentence-dlq" help:"topic with what answer set aside"`
	AnswerDLQ     string `env:"ANSWER_DLQ" envDefault:"answer-dlq" help:"topic with what Kafka Connect set aside"`
	TracingDLQ    string `env:"TRACING_DLQ" envDefault:"tracing-dlq" help:"topic with what relay set aside"`

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
		plain(c.NumberTopic), plain(c.OddTopic), plain(c.EvenTopic), plain(c.SentenceTopic), plain(c.AnswerTopic),
		dlq(c.NumberDLQ), dlq(c.EvenDLQ), dlq(c.SentenceDLQ), dlq(c.AnswerDLQ),
	}
	spans := []topic{
		{name: c.Tracing.Topic, partitions: c.TracingPartitions, replication: c.Replication, retention: c.TracingRetention},
		dlq(c.TracingDLQ),
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
