package tracingtest

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// patience is how long the readers wait for what a test expects. Only a failing
// test waits that long.
const patience = 40 * time.Second

// ReadTopic reads topic from its beginning until it has at least so many
// records, and then on to the end the topic has at that moment, so that what is
// too much is seen as well. The records come in the order of partition and
// offset. brokers are bootstrap addresses, separated by commas. It consumes without a group, by
// franz-go, and fails the test when the records do not come within 40 seconds.
func ReadTopic(t testing.TB, brokers, topic string, atLeast int) []*kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(brokers, ",")...), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		t.Fatalf("read %s: %v", topic, err)
	}
	defer client.Close()

	var records []*kgo.Record
	next := map[int32]int64{} // by partition, the offset read next
	poll := func() {
		t.Helper()
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("read %s: %d of at least %d records after %s (%v)", topic, len(records), atLeast, patience, fetches.Err())
		}
		fetches.EachRecord(func(r *kgo.Record) {
			records = append(records, r)
			next[r.Partition] = r.Offset + 1
		})
	}
	for len(records) < atLeast {
		poll()
	}
	ends := endOffsets(ctx, t, client, topic)
	for slices.ContainsFunc(ends, func(end kadm.ListedOffset) bool { return next[end.Partition] < end.Offset }) {
		poll()
	}
	slices.SortFunc(records, func(a, b *kgo.Record) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	return records
}

// Header returns the value of the first header of r with that key; "": there is none.
func Header(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

func endOffsets(ctx context.Context, t testing.TB, client *kgo.Client, topic string) []kadm.ListedOffset {
	t.Helper()
	listed, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		t.Fatalf("end offsets of %s: %v", topic, err)
	}
	var ends []kadm.ListedOffset
	listed.Each(func(o kadm.ListedOffset) { ends = append(ends, o) })
	return ends
}
