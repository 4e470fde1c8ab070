package main

import (
	"context"
	"log/slog"
	"strconv"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"fault-tolerant-tracing/services/internal/kafkaadmin"
	"fault-tolerant-tracing/tracing/kafkaclient"
)

const (
	retentionInterval = time.Minute
	retentionTimeout  = 5 * time.Second
)

// watchRetention keeps the metric of the topic's retention, until ctx ends. What
// Kafka does not tell stays as it was.
func (m *metrics) watchRetention(ctx context.Context, cluster kafkaclient.Cluster, topic string, log *slog.Logger) {
	tick := time.NewTicker(retentionInterval)
	defer tick.Stop()
	for {
		if seconds, err := retention(ctx, cluster, topic); err == nil {
			m.retention.Set(seconds)
		} else {
			log.Debug("could not ask for the retention", "topic", topic, "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// retention asks with a client of its own: one that stays would have to heed
// certificates that change.
func retention(ctx context.Context, cluster kafkaclient.Cluster, topic string) (seconds float64, err error) {
	admin, err := kafkaadmin.New(cluster)
	if err != nil {
		return 0, err
	}
	defer admin.Close()
	ctx, cancel := context.WithTimeout(ctx, retentionTimeout)
	defer cancel()
	results, err := admin.DescribeConfigs(ctx, []kafka.ConfigResource{{Type: kafka.ResourceTopic, Name: topic}})
	if err != nil {
		return 0, err
	}
	if code := results[0].Error.Code(); code != kafka.ErrNoError {
		return 0, results[0].Error
	}
	ms, err := strconv.ParseInt(results[0].Config["retention.ms"].Value, 10, 64)
	if ms < 0 {
		return -1, err
	}
	return float64(ms) / 1000, err
}
