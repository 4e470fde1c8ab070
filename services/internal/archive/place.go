package archive

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// askTimeout bounds one question about offsets.
const askTimeout = 5 * time.Second

// rebalance runs in Poll. Nothing is fetched of what is assigned before place has
// asked the archive where to go on. Of what is taken away the next owner does so
// when this has returned, and so it is written here; what cannot be written in
// time is left to the next owner, who reads it again.
func (a *Archiver) rebalance(client *kafka.Consumer, event kafka.Event) error {
	a.changes++
	switch e := event.(type) {
	case kafka.AssignedPartitions:
		a.assigned, a.placed = numbers(e.Partitions), len(e.Partitions) == 0
		a.log.Info("partitions assigned", "topic", a.cfg.Topic, "partitions", a.assigned)
		return client.Assign(nil)
	case kafka.RevokedPartitions:
		a.log.Info("partitions revoked", "topic", a.cfg.Topic, "partitions", numbers(e.Partitions))
		a.handOver()
		a.assigned, a.placed, a.parts = nil, true, nil
	}
	return nil
}

func numbers(partitions []kafka.TopicPartition) []int32 {
	list := make([]int32, len(partitions))
	for i, p := range partitions {
		list[i] = p.Partition
	}
	slices.Sort(list)
	return list
}

// takeAll is for Once, which does not share the partitions.
func (a *Archiver) takeAll(ctx context.Context) error {
	descriptions, err := a.admin.Await(ctx, a.log, a.cfg.Topic)
	if err != nil {
		return err
	}
	for _, p := range descriptions[0].Partitions {
		a.assigned = append(a.assigned, int32(p.Partition))
	}
	a.placed = false
	return nil
}

// standing is where topic and archive stand.
type standing struct {
	topicID string
	parts   map[int32]position
}

// position is where a partition stands: what the archive has ends before next,
// and the topic has low up to but not including high.
type position struct{ next, low, high int64 }

// place begins to read the assigned partitions behind what the archive has of
// them. It blocks until Kafka and the storage answer or ctx ends.
func (a *Archiver) place(ctx context.Context) error {
	assigned, changes := a.assigned, a.changes
	var now standing
	err := a.hold(ctx, func(ctx context.Context) (err error) {
		now, err = a.ask(ctx, assigned)
		return err
	})
	if err != nil || changes != a.changes {
		return err
	}
	var starts []kafka.TopicPartition
	parts, ends := map[int32]*partition{}, map[int32]int64{}
	for number, p := range now.parts {
		if p.next > p.high {
			return fmt.Errorf("partition %d of %s ends at offset %d, but the archive has it up to %d: the topic has lost records, and what it gets now must go to another archive",
				number, a.cfg.Topic, p.high, p.next-1)
		}
		if p.next > 0 && p.next < p.low {
			a.log.Warn("records were removed from the topic before they were archived", "topic", a.cfg.Topic, "partition", number,
				"offsets", fmt.Sprintf("%d-%d", p.next, p.low-1), "records", p.low-p.next)
		}
		start := max(p.next, p.low)
		starts = append(starts, kafka.TopicPartition{Topic: &a.cfg.Topic, Partition: number, Offset: kafka.Offset(start)})
		parts[number], ends[number] = &partition{next: start, confirmed: start - 1}, p.high
	}
	if err := a.client.Assign(starts); err != nil {
		return fmt.Errorf("read %s: %w", a.cfg.Topic, err)
	}
	a.commit(starts...)
	if a.ends == nil {
		a.ends = ends
	}
	a.topicID, a.parts, a.placed = now.topicID, parts, true
	a.log.Info("archiving", "topic", a.cfg.Topic, "topic_id", a.topicID, "partitions", assigned, "to", a.cfg.Archive.URL())
	return nil
}

// ask finds out where topic and archive stand. It is safe beside the loop.
func (a *Archiver) ask(ctx context.Context, assigned []int32) (standing, error) {
	id, err := a.askTopicID(ctx)
	if err != nil {
		return standing{}, err
	}
	if id == "" {
		return standing{}, fmt.Errorf("there is no topic %s any more", a.cfg.Topic)
	}
	now := standing{topicID: id, parts: map[int32]position{}}
	low, err := a.askOffsets(ctx, assigned, kafka.EarliestOffsetSpec)
	if err != nil {
		return now, err
	}
	high, err := a.askOffsets(ctx, assigned, kafka.LatestOffsetSpec)
	if err != nil {
		return now, err
	}
	for _, number := range assigned {
		next, err := a.cfg.Archive.next(ctx, Partition{a.cfg.Topic, id, number}, high[number])
		if err != nil {
			return now, err
		}
		now.parts[number] = position{next, low[number], high[number]}
	}
	if again, err := a.askTopicID(ctx); err != nil || again != id {
		return now, errors.Join(fmt.Errorf("topic %s is being made anew", a.cfg.Topic), err)
	}
	return now, nil
}

// askTopicID returns the id of the topic as Kafka's tools print it; "": there is
// no such topic.
func (a *Archiver) askTopicID(ctx context.Context) (string, error) {
	descriptions, err := a.admin.Describe(ctx, a.cfg.Topic)
	if err != nil {
		return "", fmt.Errorf("describe topic %s: %w", a.cfg.Topic, err)
	}
	d := descriptions[0]
	switch d.Error.Code() {
	case kafka.ErrNoError:
		id := binary.BigEndian.AppendUint64(nil, uint64(d.TopicID.GetMostSignificantBits()))
		id = binary.BigEndian.AppendUint64(id, uint64(d.TopicID.GetLeastSignificantBits()))
		return base64.RawURLEncoding.EncodeToString(id), nil
	case kafka.ErrUnknownTopicOrPart:
		return "", nil
	}
	return "", fmt.Errorf("describe topic %s: %w", a.cfg.Topic, d.Error)
}

func (a *Archiver) askOffsets(ctx context.Context, partitions []int32, which kafka.OffsetSpec) (map[int32]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	questions := map[kafka.TopicPartition]kafka.OffsetSpec{}
	for _, number := range partitions {
		questions[kafka.TopicPartition{Topic: &a.cfg.Topic, Partition: number}] = which
	}
	result, err := a.admin.ListOffsets(ctx, questions, kafka.SetAdminIsolationLevel(kafka.IsolationLevelReadCommitted))
	if err != nil {
		return nil, fmt.Errorf("ask for the offsets of %s: %w", a.cfg.Topic, err)
	}
	offsets := map[int32]int64{}
	for p, info := range result.ResultInfos {
		if info.Error.Code() != kafka.ErrNoError {
			return nil, fmt.Errorf("ask for the offsets of partition %d of %s: %w", p.Partition, a.cfg.Topic, info.Error)
		}
		offsets[p.Partition] = int64(info.Offset)
	}
	return offsets, nil
}
