package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// readers are the groups, and what they read.
var readers = map[string]string{
	"tracing-relay": tracingTopic, "stream-app": "number-topic", "sentence-app": "even-topic", "answer-app": "sentence-topic",
}

// lag knows how far the services are.
type lag struct {
	client *kgo.Client
	admin  *kadm.Client
}

func newLag(brokers []string) (*lag, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return nil, err
	}
	return &lag{client, kadm.NewClient(client)}, nil
}

// ends are where topics end now.
func (l *lag) ends(ctx context.Context, topics ...string) (kadm.ListedOffsets, error) {
	ends, err := l.admin.ListEndOffsets(ctx, topics...)
	if err == nil {
		err = ends.Error()
	}
	return ends, err
}

// isGone tells, in the form that until wants, whether no broker has anything of a topic any more that had these ends. One may take records for it, and
// acknowledge these, for some seconds after the topic was deleted.
func (l *lag) isGone(ctx context.Context, topic string, ends kadm.ListedOffsets) (string, bool) {
	asked := kmsg.ListOffsetsRequestTopic{Topic: topic}
	for id := range ends[topic] {
		partition := kmsg.NewListOffsetsRequestTopicPartition()
		partition.Partition, partition.Timestamp = id, -1
		asked.Partitions = append(asked.Partitions, partition)
	}
	for _, broker := range l.client.DiscoveredBrokers() {
		request := kmsg.NewPtrListOffsetsRequest()
		request.Topics = []kmsg.ListOffsetsRequestTopic{asked}
		answer, err := request.RequestWith(ctx, broker)
		switch {
		case err != nil:
			return fmt.Sprintf("a broker does not say whether it has deleted %s: %v", topic, err), false
		case slices.ContainsFunc(answer.Topics[0].Partitions, func(p kmsg.ListOffsetsResponseTopicPartition) bool {
			return p.ErrorCode != kerr.UnknownTopicOrPartition.Code
		}):
			return fmt.Sprintf("a broker has not deleted %s", topic), false
		}
	}
	return "", true
}

// goal is where topics end now. It waits for Kafka.
func (l *lag) goal(ctx context.Context, topics ...string) (ends kadm.ListedOffsets, err error) {
	err = until(ctx, func(ctx context.Context) (string, bool) {
		ends, err = l.ends(ctx, topics...)
		return fmt.Sprint("kafka does not answer: ", err), err == nil
	})
	return ends, err
}

// reach waits until everything before the ends is committed. What is committed beyond the end of a topic was so before the topic was made anew.
func (l *lag) reach(ctx context.Context, ends kadm.ListedOffsets) error {
	return until(ctx, func(ctx context.Context) (string, bool) {
		var behind []string
		for _, group := range slices.Sorted(maps.Keys(readers)) {
			topic := readers[group]
			committed, err := l.admin.FetchOffsets(ctx, group)
			if err == nil {
				err = committed.Error()
			}
			if err != nil {
				return fmt.Sprintf("the offsets of %s: %v", group, err), false
			}
			now, err := l.ends(ctx, topic)
			if err != nil {
				return fmt.Sprintf("the ends of %s: %v", topic, err), false
			}
			for id, end := range ends[topic] {
				done, _ := committed.Lookup(topic, id)
				if done.At > now[topic][id].Offset {
					done.At = 0
				}
				if open := end.Offset - max(0, done.At); open > 0 {
					behind = append(behind, fmt.Sprintf("%s has %d open of partition %d of %s", group, open, id, topic))
				}
			}
		}
		slices.Sort(behind)
		return strings.Join(behind, "; "), len(behind) == 0
	})
}

// until asks done a few times a second until it says yes. It gives up when its text has been the same for as long as patience.
func until(ctx context.Context, done func(ctx context.Context) (text string, yes bool)) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	last, changed := "", time.Now()
	for {
		asking, cancel := context.WithTimeout(ctx, 5*time.Second)
		text, yes := done(asking)
		cancel()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case yes:
			return nil
		case text != last:
			last, changed = text, time.Now()
		case time.Since(changed) > patience:
			return fmt.Errorf("nothing has happened for %s: %s", patience, text)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
