package verdict

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"fault-tolerant-tracing/services/internal/jaeger"
)

// tracingTopic is where the spans lie, unless they are sent straight to Jaeger: then it is empty. What Jaeger cannot take lies on
// deadTopic instead.
const (
	tracingTopic = "tracing-topic"
	deadTopic    = "tracing-dlq"
)

// Check reads the topics at brokers (bootstrap addresses, host and port) and what Jaeger has of the traces named there, and judges
// what came of the numbers fed. It takes both as they are at this moment and waits for nothing more; call it again while spans are
// still on their way. It blocks until everything is read or ctx ends.
func Check(ctx context.Context, brokers []string, query *jaeger.Query, fed []int64) (Result, error) {
	return CheckApart(ctx, brokers, brokers, query, fed)
}

// CheckApart is [Check] where tracing has a cluster of its own: brokers are those of the data, tracing those of tracing-topic.
func CheckApart(ctx context.Context, brokers, tracing []string, query *jaeger.Query, fed []int64) (Result, error) {
	business, err := ReadTopics(ctx, brokers, Topics()...)
	if err != nil {
		return Result{}, err
	}
	written, err := ReadTopics(ctx, tracing, tracingTopic)
	if err != nil {
		return Result{}, err
	}
	setAside, err := ReadTopics(ctx, tracing, deadTopic)
	if err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
		return Result{}, err
	}
	onTopic := Written{Aside: setAside}
	onTopic.Spans, onTopic.Strange = FromTopic(written)
	numbers := Numbers(fed, business)
	inJaeger, err := readTraces(ctx, query, numbers, onTopic.Spans)
	if err != nil {
		return Result{}, err
	}
	return Judge(numbers, onTopic, inJaeger), nil
}

// readTraces asks Jaeger for each trace that a number or a span on the topic belongs to. Those it does not have are left out.
func readTraces(ctx context.Context, query *jaeger.Query, numbers []Number, onTopic []Span) ([]Span, error) {
	ids := map[string]bool{}
	for _, n := range numbers {
		ids[n.TraceID] = true
	}
	for _, s := range onTopic {
		ids[s.TraceID] = true
	}
	delete(ids, "")

	var spans []Span
	for id := range ids {
		trace, err := query.Trace(ctx, id)
		if errors.Is(err, jaeger.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		spans = append(spans, FromJaeger(trace)...)
	}
	return spans, nil
}

// ReadTopics returns all records of the topics, from their beginning to the end they have when it is called, in no particular
// order. It joins no consumer group, and fails when a topic does not exist or ctx ends.
func ReadTopics(ctx context.Context, brokers []string, topics ...string) (records []*kgo.Record, err error) {
	err = Scan(ctx, brokers, func(r *kgo.Record) error {
		records = append(records, r)
		return nil
	}, topics...)
	return records, err
}

// Scan calls each with all records of the topics, one after the other: those of [ReadTopics]. It holds a few megabytes of them at a
// time. An error of each ends it.
func Scan(ctx context.Context, brokers []string, each func(*kgo.Record) error, topics ...string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxBytes(4<<20), kgo.FetchMaxPartitionBytes(1<<20))
	if err != nil {
		return fmt.Errorf("read %v: %w", topics, err)
	}
	defer client.Close()
	left, err := ahead(ctx, kadm.NewClient(client), topics)
	if err != nil {
		return fmt.Errorf("read %v: %w", topics, err)
	}
	for len(left) > 0 {
		fetches := client.PollRecords(ctx, 1000)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("read %v: %w", topics, err)
		}
		for _, r := range fetches.Records() {
			at := partition{r.Topic, r.Partition}
			end, reading := left[at]
			if reading && r.Offset < end {
				if err := each(r); err != nil {
					return err
				}
			}
			if r.Offset+1 >= end {
				delete(left, at)
			}
		}
	}
	return nil
}

type partition struct {
	topic string
	id    int32
}

// ahead returns the ends of those partitions that hold anything.
func ahead(ctx context.Context, admin *kadm.Client, topics []string) (map[partition]int64, error) {
	starts, err := admin.ListStartOffsets(ctx, topics...) // before the ends, which only move on
	if err == nil {
		err = starts.Error()
	}
	var ends kadm.ListedOffsets
	if err == nil {
		ends, err = admin.ListEndOffsets(ctx, topics...)
	}
	if err == nil {
		err = ends.Error()
	}
	left := map[partition]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if start, _ := starts.Lookup(o.Topic, o.Partition); o.Offset > start.Offset {
			left[partition{o.Topic, o.Partition}] = o.Offset
		}
	})
	return left, err
}
