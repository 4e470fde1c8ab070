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

// CheckAll is [Check] of every number on number-topic.
func CheckAll(ctx context.Context, brokers []string, query *jaeger.Query) (Result, error) {
	fed, err := Fed(ctx, brokers)
	if err != nil {
		return Result{}, err
	}
	return Check(ctx, brokers, query, fed)
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
func ReadTopics(ctx context.Context, brokers []string, topics ...string) ([]*kgo.Record, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, fmt.Errorf("read %v: %w", topics, err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
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
	if err != nil {
		return nil, fmt.Errorf("read %v: %w", topics, err)
	}

	left := map[string]map[int32]int64{} // by topic and partition: the end still to be reached
	ends.Each(func(o kadm.ListedOffset) {
		if start, _ := starts.Lookup(o.Topic, o.Partition); o.Offset > start.Offset {
			if left[o.Topic] == nil {
				left[o.Topic] = map[int32]int64{}
			}
			left[o.Topic][o.Partition] = o.Offset
		}
	})
	var records []*kgo.Record
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("read %v: %w", topics, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			records = append(records, r)
			if r.Offset+1 >= left[r.Topic][r.Partition] {
				delete(left[r.Topic], r.Partition)
			}
			if len(left[r.Topic]) == 0 {
				delete(left, r.Topic)
			}
		})
	}
	return records, nil
}
