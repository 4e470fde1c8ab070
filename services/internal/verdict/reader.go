package verdict

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Scan calls each with all records of the topics, from their beginning to the end they have when it is called, one after the other,
// in order only within a partition. It holds a few megabytes of them at a time and joins no consumer group. It fails when a topic does
// not exist, ctx ends or each fails.
func Scan(ctx context.Context, brokers []string, each func(*kgo.Record) error, topics ...string) error {
	return newReader(brokers, topics...).read(ctx, each)
}

// reader reads topics from their beginning, and with each call what has come since.
type reader struct {
	brokers, topics []string
	ids             map[string]kadm.TopicID
	next            map[partition]int64     // the offset to read
	polled          func(records int) error // called now and then while it reads, which ends with its error
}

type partition struct {
	topic string
	id    int32
}

// errAnew says that a topic is no longer the one that was read.
var errAnew = errors.New("the topic was made anew")

func newReader(brokers []string, topics ...string) *reader {
	return &reader{brokers: brokers, topics: topics, ids: map[string]kadm.TopicID{}, next: map[partition]int64{}, polled: func(int) error { return nil }}
}

// read calls each with the records up to the ends that the topics have now. What each was called with is read, though it return an error.
func (r *reader) read(ctx context.Context, each func(*kgo.Record) error) error {
	failed := func(err error) error { return fmt.Errorf("read %v: %w", r.topics, err) }
	client, err := kgo.NewClient(kgo.SeedBrokers(r.brokers...), kgo.FetchMaxBytes(4<<20), kgo.FetchMaxPartitionBytes(1<<20))
	if err != nil {
		return failed(err)
	}
	defer client.Close()
	ends, err := r.ends(ctx, kadm.NewClient(client))
	if err != nil {
		return failed(err)
	}
	for at := range ends {
		client.AddConsumePartitions(map[string]map[int32]kgo.Offset{at.topic: {at.id: kgo.NewOffset().At(r.next[at])}})
	}
	for len(ends) > 0 {
		fetches := client.PollRecords(ctx, 1000)
		if err := fetches.Err(); err != nil {
			return failed(err)
		}
		if err := r.polled(fetches.NumRecords()); err != nil {
			return err
		}
		for _, record := range fetches.Records() {
			at := partition{record.Topic, record.Partition}
			end, reading := ends[at]
			if !reading {
				continue
			}
			if record.Offset+1 >= end {
				delete(ends, at)
			}
			r.next[at] = min(record.Offset+1, end)
			if record.Offset < end {
				if err := each(record); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// ends returns the ends of those partitions that hold anything to be read.
func (r *reader) ends(ctx context.Context, admin *kadm.Client) (map[partition]int64, error) {
	topics, err := admin.ListTopics(ctx, r.topics...)
	if err := errors.Join(err, topics.Error()); err != nil {
		return nil, err
	}
	starts, err := admin.ListStartOffsets(ctx, r.topics...) // before the ends, which only move on
	if err := errors.Join(err, starts.Error()); err != nil {
		return nil, err
	}
	ends, err := admin.ListEndOffsets(ctx, r.topics...)
	if err := errors.Join(err, ends.Error()); err != nil {
		return nil, err
	}
	anew, ahead := false, map[partition]int64{}
	for name, topic := range topics {
		id, known := r.ids[name]
		anew = anew || known && id != topic.ID
		r.ids[name] = topic.ID
	}
	ends.Each(func(end kadm.ListedOffset) {
		at := partition{end.Topic, end.Partition}
		start, _ := starts.Lookup(end.Topic, end.Partition)
		anew = anew || end.Offset < r.next[at]
		if r.next[at] = max(r.next[at], start.Offset); r.next[at] < end.Offset {
			ahead[at] = end.Offset
		}
	})
	if anew {
		return nil, errAnew
	}
	return ahead, nil
}
