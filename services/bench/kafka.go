package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"fault-tolerant-tracing/services/internal/deadletter"
	"fault-tolerant-tracing/services/internal/local"
)

const (
	partitions = 6 // as tracing-topic has

	// joinMillis is how long a group waits for more members before it begins:
	// those of one measurement are all there then.
	joinMillis = 1000
)

// broker is one node of Apache Kafka.
type broker struct {
	*child
	addr   string
	client *kgo.Client
	admin  *kadm.Client
}

// startKafka starts Apache Kafka from the jars in a folder, with its data below
// dir, and returns when it answers.
func startKafka(ctx context.Context, jars, dir string) (*broker, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	controller, err := freeAddr()
	if err != nil {
		return nil, err
	}
	node := local.KafkaNode{
		Java: local.Java(jars, "1g"), Dir: filepath.Join(dir, "kafka"), ID: 1, Addr: addr, Voters: []string{controller},
		Settings: map[string]string{"group.initial.rebalance.delay.ms": strconv.Itoa(joinMillis)},
	}
	if err := node.Prepare(); err != nil {
		return nil, err
	}
	c, err := startChild("kafka", dir, local.JavaEnvironment(), nil, node.Command()...)
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		c.stop()
		return nil, err
	}
	b := &broker{child: c, addr: addr, client: client, admin: kadm.NewClient(client)}
	if err := c.await(ctx, b.answers); err != nil {
		b.stop()
		return nil, err
	}
	return b, nil
}

func (b *broker) stop() {
	b.client.Close()
	b.child.stop()
}

func (b *broker) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	brokers, err := b.admin.ListBrokers(ctx)
	if err == nil && len(brokers) == 0 {
		return errors.New("no broker")
	}
	return err
}

// kafkaVersion reads the version of Kafka from the names of its jars.
func kafkaVersion(jars string) string {
	const prefix = "kafka-clients-"
	found, _ := filepath.Glob(filepath.Join(jars, prefix+"*.jar")) // fails for malformed patterns only
	if len(found) == 0 {
		return "unknown"
	}
	return strings.TrimSuffix(strings.TrimPrefix(filepath.Base(found[0]), prefix), ".jar")
}

// createTopic makes a topic and returns when all of its partitions can be written
// to.
func (b *broker) createTopic(ctx context.Context, name string, partitions int32) error {
	forever, large := "-1", strconv.Itoa(deadletter.MaxBytes)
	settings := map[string]*string{"retention.ms": &forever, "max.message.bytes": &large} // the time of a record must not matter; a dead-letter topic takes more than the default
	if _, err := b.admin.CreateTopic(ctx, partitions, 1, settings, name); err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	return b.await(ctx, func(ctx context.Context) error {
		topics, err := b.admin.ListTopics(ctx, name)
		if err != nil {
			return err
		}
		if ready := topics[name].Partitions; len(ready) < int(partitions) {
			return fmt.Errorf("%s has %d partitions of %d", name, len(ready), partitions)
		}
		return topics.Error()
	})
}

// forget makes a group start from the oldest record. Its members must have left;
// one that was killed is a member until its session ends, which is waited for.
func (b *broker) forget(ctx context.Context, group string) error {
	return b.await(ctx, func(ctx context.Context) error {
		answers, err := b.admin.DeleteGroups(ctx, group)
		if err != nil {
			return err
		}
		if err := answers.Error(); err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
			return err
		}
		return nil
	})
}

// uncommitted returns how many records of a topic a group has not committed.
func (b *broker) uncommitted(ctx context.Context, group, topic string) (int64, error) {
	ends, err := b.ends(ctx, topic)
	if err != nil {
		return 0, err
	}
	return b.uncommittedTo(ctx, group, ends)
}

// ends returns where the partitions of a topic end.
func (b *broker) ends(ctx context.Context, topic string) (kadm.ListedOffsets, error) {
	ends, err := b.admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("ask for the end of %s: %w", topic, err)
	}
	return ends, nil
}

// uncommittedTo returns how many records before those ends a group has not committed.
func (b *broker) uncommittedTo(ctx context.Context, group string, ends kadm.ListedOffsets) (left int64, err error) {
	committed, err := b.admin.FetchOffsets(ctx, group)
	if err != nil {
		return 0, fmt.Errorf("ask for the offsets of %s: %w", group, err)
	}
	ends.Each(func(end kadm.ListedOffset) {
		done, _ := committed.Lookup(end.Topic, end.Partition)
		left += max(0, end.Offset-max(0, done.At))
	})
	return left, nil
}
