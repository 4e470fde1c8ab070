package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/IBM/sarama"
)

// origin sees to it that what the group has committed counts only for the topic that it was
// committed of, whose id stands in the metadata of the commit.
type origin struct {
	admin    sarama.ClusterAdmin
	group    string
	topic    string
	interval time.Duration // between two looks at the topic's id
	log      *slog.Logger
}

// begin returns the topic's id for a session that has not read yet. If the topic was made anew
// since the last commit, the session will read it from its beginning. A commit without an id
// is taken as it is. Without an error the id is known.
func (o origin) begin(s sarama.ConsumerGroupSession) (string, error) {
	topicID, err := o.topicID()
	if err != nil {
		return "", err
	}
	committed, err := o.admin.ListConsumerGroupOffsets(o.group, s.Claims())
	if err != nil {
		return "", fmt.Errorf("ask for the committed offsets of %s: %w", o.topic, err)
	}
	for _, id := range s.Claims()[o.topic] {
		at := committed.GetBlock(o.topic, id)
		if at == nil {
			at = &sarama.OffsetFetchResponseBlock{Err: sarama.ErrUnknown}
		}
		switch {
		case !errors.Is(at.Err, sarama.ErrNoError):
			return "", fmt.Errorf("ask for the committed offset of %s, partition %d: %w", o.topic, id, at.Err)
		case at.Offset >= 0 && at.Metadata != "" && at.Metadata != topicID:
			o.log.Warn("the topic was made anew since the last commit, reading from its beginning",
				"topic", o.topic, "partition", id, "committed", at.Offset)
			s.ResetOffset(o.topic, id, 0, topicID) // sarama begins at the oldest record if this one is gone
		}
	}
	return topicID, nil
}

// watch calls end when the topic has another id than before. It blocks until then, or until ctx ends.
func (o origin) watch(ctx context.Context, before string, end func()) {
	tick := time.NewTicker(o.interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		switch id, err := o.topicID(); {
		case err != nil:
			o.log.Debug("could not ask for the id of the topic", "err", err)
		case id != before:
			o.log.Warn("the topic was made anew, joining anew to read it from its beginning", "topic", o.topic)
			end()
			return
		}
	}
}

// topicID asks for the id that the cluster gave the topic.
func (o origin) topicID() (string, error) {
	described, err := o.admin.DescribeTopics([]string{o.topic})
	switch {
	case err != nil:
		return "", fmt.Errorf("ask for the id of %s: %w", o.topic, err)
	case len(described) != 1:
		return "", fmt.Errorf("ask for the id of %s: %d descriptions", o.topic, len(described))
	case !errors.Is(described[0].Err, sarama.ErrNoError):
		return "", fmt.Errorf("ask for the id of %s: %w", o.topic, described[0].Err)
	}
	return described[0].Uuid.String(), nil
}
