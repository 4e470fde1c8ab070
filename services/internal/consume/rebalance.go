package consume

import (
	"context"
	"fmt"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// rebalance runs in the poll loop. Afterwards the client assigns, unless this did.
func (c *Consumer) rebalance(client *kafka.Consumer, event kafka.Event) error {
	if client != c.kafka.Load() {
		return nil // one that was replaced and is being closed
	}
	switch e := event.(type) {
	case kafka.AssignedPartitions:
		c.log.Info("partitions assigned", "partitions", ids(e.Partitions))
		c.joined.Store(true)
		if c.begin(client, e.Partitions) {
			return client.IncrementalAssign(e.Partitions)
		}
	case kafka.RevokedPartitions:
		c.log.Info("partitions revoked", "partitions", ids(e.Partitions))
		if !client.AssignmentLost() {
			c.work.Drain(ids(e.Partitions), drainTimeout)
			c.storeAll() // the client commits it before the partitions go
		}
		c.forget(ids(e.Partitions))
	}
	return nil
}

// forget drops everything of partitions that are not ours any more.
func (c *Consumer) forget(partitions []int32) {
	c.work.Forget(partitions)
	for _, id := range partitions {
		delete(c.moved, id)
		delete(c.back, id)
	}
	c.tails.forget(partitions)
	for _, id := range partitions {
		c.troubles.over(id)
	}
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
	for i := range partitions {
		partitions[i].Offset = kafka.OffsetStored
	}
	c.begin(client, partitions)
	if err := client.IncrementalAssign(partitions); err != nil {
		return fmt.Errorf("go back in %s: %w", c.cfg.Topic, err)
	}
	return nil
}

// begin makes room for partitions that have become ours, and asks where the group stands in
// them, so that the status is right before their first record is read. What was committed
// belongs to one topic: if that was made anew since, reading begins at its beginning.
func (c *Consumer) begin(client *kafka.Consumer, partitions []kafka.TopicPartition) (anew bool) {
	c.work.Assign(ids(partitions))
	for _, p := range partitions {
		c.tails.read(p.Partition, 0) // so that it can stall before its first record
	}
	c.reassigned = true
	known, begun := c.topicID.Load(), c.begun
	c.begun = true
	switch id, err := askTopicID(client, c.cfg.Topic); {
	case err != nil:
		c.log.Debug("could not ask for the id of the topic", "err", err)
	case known == nil || !begun:
		c.topicID.Store(&id)
	case *known != id: // other partitions are still read from where those of the old topic were
		c.anew.Store(true)
	}
	committed, err := client.Committed(partitions, int(askTimeout.Milliseconds()))
	if err != nil {
		c.log.Debug("could not ask for the committed offsets", "err", err)
		return false
	}
	for i, p := range committed {
		partitions[i].Offset = kafka.OffsetStored
		switch {
		case p.Offset < 0:
		case c.isOther(p.Metadata):
			c.log.Warn("the topic was made anew since the last commit, reading from its beginning",
				"partition", p.Partition, "committed", int64(p.Offset))
			partitions[i].Offset = kafka.OffsetBeginning
			anew = true
		default:
			c.work.Start(p.Partition, int64(p.Offset))
			c.tails.read(p.Partition, int64(p.Offset))
		}
	}
	return anew
}

// isOther tells whether the metadata of a commit names another topic than the one of
// today. That of older relays names none.
func (c *Consumer) isOther(metadata *string) bool {
	id := c.topicID.Load()
	return id != nil && metadata != nil && *metadata != "" && *metadata != *id
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
