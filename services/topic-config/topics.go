package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"fault-tolerant-tracing/services/internal/kafkaadmin"
	"fault-tolerant-tracing/tracing/kafkaclient"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

const (
	createTimeout = 30 * time.Second       // for the cluster to make the topics it is asked for
	lookAgain     = 100 * time.Millisecond // until it shows them, or is asked anew
)

// refusals are the answers after which asking again does not help.
var refusals = []kafka.ErrorCode{
	kafka.ErrInvalidReplicationFactor, kafka.ErrInvalidPartitions, kafka.ErrInvalidConfig, kafka.ErrInvalidRequest,
	kafka.ErrTopicException, kafka.ErrPolicyViolation, kafka.ErrTopicAuthorizationFailed, kafka.ErrClusterAuthorizationFailed,
	kafka.ErrUnsupportedVersion,
}

// result is a topic that is there, and when it was first looked for and seen.
type result struct {
	topic      topic
	begin, end time.Time
	created    bool // by this run
}

// maker makes the topics of one cluster.
type maker struct {
	admin   *kafkaadmin.Admin
	log     *slog.Logger
	results []*result
	told    string // the last complaint
}

// makeTopics returns when the cluster has all topics. It waits for the cluster
// as long as that takes, and fails when the cluster refuses a topic.
func makeTopics(ctx context.Context, cluster kafkaclient.Cluster, topics []topic, log *slog.Logger) ([]*result, error) {
	admin, err := kafkaadmin.New(cluster)
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	m := &maker{admin: admin, log: log}
	for _, t := range topics {
		m.results = append(m.results, &result{topic: t, begin: time.Now()})
	}
	for {
		descriptions, err := admin.Await(ctx, log, names(topics)...)
		if err != nil {
			return nil, err
		}
		missing := m.note(kafkaadmin.Missing(descriptions))
		if len(missing) == 0 {
			m.compare(ctx, descriptions)
			return m.results, nil
		}
		if err := m.create(ctx, missing); err != nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(lookAgain):
		}
	}
}

// note keeps the time at which a topic was first seen, and returns the topics
// that are missing.
func (m *maker) note(names []string) []*result {
	var missing []*result
	for _, r := range m.results {
		if slices.Contains(names, r.topic.name) {
			missing = append(missing, r)
		} else if r.end.IsZero() {
			r.end = time.Now()
		}
	}
	return missing
}

// create asks for topics. Its error lists those that the cluster refuses; what
// it may make later is only logged.
func (m *maker) create(ctx context.Context, missing []*result) error {
	specs := make([]kafka.TopicSpecification, len(missing))
	for i, r := range missing {
		specs[i] = r.topic.specification()
	}
	answers, err := m.admin.CreateTopics(ctx, specs, kafka.SetAdminOperationTimeout(createTimeout), kafka.SetAdminRequestTimeout(createTimeout))
	if err != nil {
		m.complain("could not create topics, trying again", err)
		return nil
	}
	var refused []error
	for i, a := range answers {
		switch code := a.Error.Code(); {
		case code == kafka.ErrNoError:
			missing[i].created = true
			m.log.Info("topic created", "topic", a.Topic, "partitions", specs[i].NumPartitions)
		case code == kafka.ErrTopicAlreadyExists: // made by this run or another one a moment ago
		case slices.Contains(refusals, code):
			refused = append(refused, fmt.Errorf("create %s: %w", a.Topic, a.Error))
		default:
			m.complain("could not create a topic, trying again", fmt.Errorf("%s: %w", a.Topic, a.Error))
		}
	}
	return errors.Join(refused...)
}

// complain logs a warning unless it is the same as the last one.
func (m *maker) complain(message string, err error) {
	if m.told != err.Error() {
		m.log.Warn(message, "err", err)
	}
	m.told = err.Error()
}

const (
	retentionKey = "retention.ms"
	maxBytesKey  = "max.message.bytes"
)

// config returns what is not left to the broker's defaults.
func (t topic) config() map[string]string {
	config := map[string]string{retentionKey: strconv.FormatInt(t.retention.Milliseconds(), 10)}
	if t.maxBytes > 0 {
		config[maxBytesKey] = strconv.Itoa(t.maxBytes)
	}
	return config
}

func (t topic) specification() kafka.TopicSpecification {
	return kafka.TopicSpecification{Topic: t.name, NumPartitions: t.partitions, ReplicationFactor: t.replication, Config: t.config()}
}
