package consume

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// rebalance runs in the poll loop, but for a client that is being closed.
func (c *Consumer) rebalance(client *kafka.Consumer, event kafka.Event) error {
	current := client == c.kafka.Load() // else it was replaced
	switch e := event.(type) {
	case kafka.AssignedPartitions:
		if !current {
			return nil // it assigns them itself
		}
		c.log.Info("partitions assigned", "partitions", ids(e.Partitions))
		c.joined.Store(true)
		c.troubles.over(membership)
		return c.assign(client, e.Partitions)
	case kafka.RevokedPartitions:
		if current {
			c.revoked(client, ids(e.Partitions))
		}
		return unassign(client, e.Partitions)
	}
	return nil
}

func (c *Consumer) revoked(client *kafka.Consumer, partitions []int32) {
	c.log.Info("partitions revoked", "partitions", partitions)
	if client.AssignmentLost() {
		lost := fmt.Errorf("the membership of consumer group %s has run out, joining anew", c.cfg.Group)
		c.troubles.note(membership, lost)
		c.joined.Store(false)
		c.log.Warn("partitions were lost", "err", lost)
	} else {
		c.work.Drain(partitions, drainTimeout)
		c.storeAll() // the client commits it before the partitions go
	}
	c.forget(partitions)
}

// unassign takes partitions from the client, of those that it has: see assign.
func unassign(client *kafka.Consumer, partitions []kafka.TopicPartition) error {
	assigned, err := client.Assignment()
	if err != nil {
		return err
	}
	has := ids(assigned)
	return client.IncrementalUnassign(slices.DeleteFunc(partitions, func(p kafka.TopicPartition) bool { return !slices.Contains(has, p.Partition) }))
}

// forget drops everything of partitions that are not ours any more.
func (c *Consumer) forget(partitions []int32) {
	c.work.Forget(partitions)
	c.tails.forget(partitions)
	for _, id := range partitions {
		delete(c.moved, id)
		delete(c.back, id)
		c.troubles.over(id)
	}
	c.unknown = slices.DeleteFunc(c.unknown, func(p kafka.TopicPartition) bool { return slices.Contains(partitions, p.Partition) })
}

// goBack begins anew in all partitions.
func (c *Consumer) goBack() error {
	client := c.kafka.Load()
	partitions, err := client.Assignment()
	if err != nil || len(partitions) == 0 {
		return err
	}
	c.readAgain.Add(1)
	c.forget(ids(partitions))
	c.flushed = nil
	if err := client.IncrementalUnassign(partitions); err != nil {
		return fmt.Errorf("go back in %s: %w", c.cfg.Topic, err)
	}
	return c.assign(client, partitions)
}

// assign gives the client partitions that have become ours. Those where it is not known
// where to begin wait until inspect tries again: the client has not got them until then.
func (c *Consumer) assign(client *kafka.Consumer, partitions []kafka.TopicPartition) error {
	if err := c.begin(client, partitions); err != nil {
		news := false
		for _, p := range partitions {
			news = c.troubles.note(p.Partition, err) || news
		}
		if news {
			c.log.Warn("it is not known where to begin, asking again", "partitions", ids(partitions), "err", err)
		}
		c.unknown, partitions = append(c.unknown, partitions...), nil
	}
	if err := client.IncrementalAssign(partitions); err != nil {
		return fmt.Errorf("assign partitions of %s: %w", c.cfg.Topic, err)
	}
	return nil
}

// begin finds out where to begin in partitions, and makes room for them. What was committed
// belongs to one topic: if that was made anew since, reading begins at its beginning. So
// nothing may be read, or committed, before both are known. It asks for a few seconds at most.
func (c *Consumer) begin(client *kafka.Consumer, partitions []kafka.TopicPartition) error {
	id, err := askTopicID(client, c.cfg.Topic)
	if err != nil {
		return fmt.Errorf("ask for the id of the topic: %w", err)
	}
	if !c.topicID.CompareAndSwap(nil, &id) && *c.topicID.Load() != id {
		c.anew.Store(true) // other partitions are still read from where those of the old topic were
	}
	if len(partitions) == 0 {
		return nil
	}
	committed, err := client.Committed(partitions, int(askTimeout.Milliseconds()))
	for _, p := range committed {
		err = cmp.Or(err, p.Error)
	}
	if err != nil {
		return fmt.Errorf("ask for the committed offsets: %w", err)
	}
	c.work.Assign(ids(partitions))
	c.reassigned = true
	for i, p := range committed {
		partitions[i].Offset = kafka.OffsetStored
		c.tails.read(p.Partition, 0) // so that it can stall before its first record
		switch {
		case p.Offset < 0:
		case c.isOther(p.Metadata):
			c.log.Warn("the topic was made anew since the last commit, reading from its beginning",
				"partition", p.Partition, "committed", int64(p.Offset))
			partitions[i].Offset = kafka.OffsetBeginning
		default:
			c.work.Start(p.Partition, int64(p.Offset))
			c.tails.read(p.Partition, int64(p.Offset))
		}
		c.troubles.over(p.Partition)
	}
	return nil
}

// isOther tells whether the metadata of a commit names another topic than the one of
// today. That of older relays names none.
func (c *Consumer) isOther(metadata *string) bool {
	return metadata != nil && *metadata != "" && *metadata != *c.topicID.Load()
}

// checkTopicID finds out whether the topic is still the one that the client reads.
func (c *Consumer) checkTopicID(client *kafka.Consumer) {
	before := c.topicID.Load()
	if id, err := askTopicID(client, c.cfg.Topic); err == nil && before != nil && *before != id {
		c.anew.Store(true)
	}
}

// askTopicID asks for the id that the cluster gave the topic.
func askTopicID(client *kafka.Consumer, topic string) (string, error) {
	admin, err := kafka.NewAdminClientFromConsumer(client)
	if err != nil {
		return "", err
	}
	defer admin.Close()
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	result, err := admin.DescribeTopics(ctx, kafka.NewTopicCollectionOfTopicNames([]string{topic}), kafka.SetAdminRequestTimeout(askTimeout))
	switch {
	case err != nil:
		return "", err
	case len(result.TopicDescriptions) != 1:
		return "", fmt.Errorf("%d descriptions", len(result.TopicDescriptions))
	case result.TopicDescriptions[0].Error.Code() != kafka.ErrNoError:
		return "", result.TopicDescriptions[0].Error
	}
	return result.TopicDescriptions[0].TopicID.String(), nil
}

func ids(partitions []kafka.TopicPartition) []int32 {
	list := make([]int32, len(partitions))
	for i, p := range partitions {
		list[i] = p.Partition
	}
	return list
}
