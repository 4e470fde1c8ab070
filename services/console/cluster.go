package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"fault-tolerant-tracing/services/internal/kafkaadmin"
	"fault-tolerant-tracing/tracing/kafkaclient"
)

const pollTimeout = 100 * time.Millisecond

// cluster is one Kafka with topics that are watched.
type cluster struct {
	topics   []watched
	admin    *kafkaadmin.Admin
	consumer *kafka.Consumer
	login    *kafkaclient.Credentials
	reading  map[place]bool // what is assigned to the consumer
}

// place is a partition of a topic.
type place struct {
	topic     string
	partition int32
}

func placeOf(p kafka.TopicPartition) place { return place{*p.Topic, p.Partition} }

func (p place) at(offset int64) kafka.TopicPartition {
	return kafka.TopicPartition{Topic: &p.topic, Partition: p.partition, Offset: kafka.Offset(offset)}
}

// watched is a topic.
type watched struct {
	name  string
	group string // that reads it; "": none does
	tail  int64  // how many of the last records of each partition are read, and all that come; 0: none
}

// all is more than a tail can have.
const all = 1 << 62

// position is how far a partition reaches, and how far its group has come.
type position struct {
	start, end int64
	read       bool  // there is a group
	committed  int64 // -1: nothing
}

func (p position) lag() int64 {
	if !p.read {
		return 0
	}
	return max(0, p.end-max(p.committed, p.start))
}

func openCluster(cfg kafkaclient.Cluster, topics []watched) (*cluster, error) {
	cfg.ClientID = "console"
	admin, err := kafkaadmin.New(cfg)
	if err != nil {
		return nil, err
	}
	c := &cluster{topics: topics, admin: admin, reading: map[place]bool{}}
	c.login = cfg.Credentials(nil)
	settings := cfg.ConfigMap()
	for key, value := range map[string]kafka.ConfigValue{
		"group.id":                   "console", // is not joined; librdkafka wants a name
		"enable.auto.commit":         false,
		"enable.auto.offset.store":   false,
		"auto.offset.reset":          "earliest", // of a topic that was made anew, or has lost records to retention
		"queued.max.messages.kbytes": 4 << 10,
		"go.logs.channel.enable":     false, // the page tells what is away
		"log_level":                  0,
	} {
		settings[key] = value
	}
	if c.consumer, err = kafkaclient.NewConsumer(&settings); err != nil {
		admin.Close()
		return nil, fmt.Errorf("make a kafka consumer: %w", err)
	}
	return c, nil
}

func (c *cluster) close() {
	_ = c.consumer.Close()
	c.admin.Close()
}

// ask returns the positions of all partitions. Topics that are not there are left out. It has the
// consumer read what is new. It is for one goroutine.
func (c *cluster) ask(ctx context.Context) (positions map[place]*position, err error) {
	var names []string
	for _, t := range c.topics {
		names = append(names, t.name)
	}
	descriptions, err := c.admin.Describe(ctx, names...)
	if err != nil {
		return nil, err
	}
	positions = map[place]*position{}
	byGroup := map[string][]kafka.TopicPartition{}
	for i, d := range descriptions {
		for _, p := range d.Partitions {
			at := place{d.Name, int32(p.Partition)}
			group := c.topics[i].group
			positions[at] = &position{committed: -1, read: group != ""}
			if group != "" {
				byGroup[group] = append(byGroup[group], at.at(0))
			}
		}
	}
	err = errors.Join(
		c.offsets(ctx, positions, kafka.EarliestOffsetSpec, func(p *position, offset int64) { p.start = offset }),
		c.offsets(ctx, positions, kafka.LatestOffsetSpec, func(p *position, offset int64) { p.end = offset }))
	for group, partitions := range byGroup {
		err = errors.Join(err, c.committed(ctx, group, partitions, positions))
	}
	if err != nil {
		return nil, err
	}
	for i, d := range descriptions {
		for _, p := range d.Partitions {
			at := place{d.Name, int32(p.Partition)}
			if err := c.read(at, *positions[at], c.topics[i].tail); err != nil {
				return nil, err
			}
		}
	}
	return positions, nil
}

func (c *cluster) offsets(ctx context.Context, of map[place]*position, spec kafka.OffsetSpec, set func(*position, int64)) error {
	if len(of) == 0 {
		return nil
	}
	request := make(map[kafka.TopicPartition]kafka.OffsetSpec, len(of))
	for at := range of {
		request[at.at(0)] = spec
	}
	result, err := c.admin.ListOffsets(ctx, request)
	for at, info := range result.ResultInfos {
		if info.Error.Code() == kafka.ErrNoError {
			set(of[placeOf(at)], int64(info.Offset))
		}
	}
	return err
}

func (c *cluster) committed(ctx context.Context, group string, partitions []kafka.TopicPartition, of map[place]*position) error {
	result, err := c.admin.ListConsumerGroupOffsets(ctx, []kafka.ConsumerGroupTopicPartitions{{Group: group, Partitions: partitions}})
	if unknown := (kafka.Error{}); errors.As(err, &unknown) && unknown.Code() == kafka.ErrGroupIDNotFound {
		return nil // nobody has joined it yet
	}
	for _, g := range result.ConsumerGroupsTopicPartitions {
		for _, at := range g.Partitions {
			if at.Offset >= 0 {
				of[placeOf(at)].committed = int64(at.Offset)
			}
		}
	}
	return err
}

// present returns the groups of the topics that have a member.
func (c *cluster) present(ctx context.Context) (present []string, err error) {
	var groups []string
	for _, t := range c.topics {
		if t.group != "" {
			groups = append(groups, t.group)
		}
	}
	result, err := c.admin.DescribeConsumerGroups(ctx, groups)
	if err != nil {
		return nil, err
	}
	for _, g := range result.ConsumerGroupDescriptions {
		if len(g.Members) > 0 {
			present = append(present, g.GroupID)
		}
	}
	return present, nil
}

// read has the consumer read the tail of a partition, and what comes, unless it does already.
func (c *cluster) read(at place, p position, tail int64) error {
	if tail == 0 || c.reading[at] {
		return nil
	}
	if err := c.consumer.IncrementalAssign([]kafka.TopicPartition{at.at(max(p.start, p.end-tail))}); err != nil {
		return fmt.Errorf("read %s: %w", at.topic, err)
	}
	c.reading[at] = true
	return nil
}

// follow yields the records that are read until ctx ends, or returns an error of the client after which it reads no more.
func (c *cluster) follow(ctx context.Context, yield func(*kafka.Message)) error {
	for ctx.Err() == nil {
		switch e := c.consumer.Poll(int(pollTimeout.Milliseconds())).(type) {
		case *kafka.Message:
			if e.TopicPartition.Error == nil {
				yield(e)
			}
		case kafka.Error:
			if kafkaclient.IsFatal(e) {
				return fmt.Errorf("read from kafka: %w", e)
			}
		}
	}
	return nil
}

// awaitLogin returns an error when certificates or passwords on disk have changed: the consumer has to be made anew with them.
func (c *cluster) awaitLogin(ctx context.Context) error {
	if c.login.AwaitChange(ctx) {
		return errors.New("the files to log in to kafka with have changed: start again to use them")
	}
	return nil
}
