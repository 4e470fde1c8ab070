package replay

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"fault-tolerant-tracing/services/internal/scan"
	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/tracingtest"
)

// Everything that is on the topic when a replay starts comes to Jaeger, whatever
// goes wrong there; what Jaeger refuses is told, and takes nothing along.
func TestReplayReproducesEverySpan(t *testing.T) {
	broker := tracingtest.StartBroker(t)
	broker.CreateTopics(t, 6, "tracing-topic")
	random := rand.New(rand.NewPCG(1, 2))
	wanted, poison := produceSpans(t, broker, random)

	faults := []int{hangUp, 408, 429, 500, 502, 503}
	collector := startCollector(t, func(_ string, operations []string) int {
		if len(operations) == 0 {
			return 400
		}
		for _, operation := range operations {
			if poison[operation] != 0 {
				return poison[operation]
			}
		}
		if len(operations) > 300 && random.IntN(2) == 0 {
			return 413
		}
		if random.IntN(4) == 0 {
			return faults[random.IntN(len(faults))]
		}
		return 202
	})
	topic, err := scan.Open(t.Context(), kafkaclient.Cluster{Brokers: []string{broker.Addr()}}, "tracing-topic")
	require.NoError(t, err)
	defer topic.Close()
	source, err := FromTopic(topic, time.Time{}, time.Time{})
	require.NoError(t, err)
	total, err := source.Total(t.Context())
	require.NoError(t, err)

	var done doneCounter
	result, err := Run(t.Context(), source, Filter{}, newSender(t, collector.URL()), done.done)
	require.NoError(t, err)
	done.check(t, int(total))
	for operation := range wanted {
		require.Equal(t, 1, collector.Taken(operation), operation)
	}
	assert.Len(t, collector.AllTaken(), len(wanted))
	assert.EqualValues(t, len(wanted), result.Spans)
	assert.EqualValues(t, len(poison)+1, result.Refused)
	assert.Len(t, result.Refusals, len(poison)+1)
	assert.Equal(t, total, result.Records+result.Refused)
	t.Logf("%d records, %d spans, %d posts", total, result.Spans, collector.Posts())

	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()))
	require.NoError(t, err)
	defer client.Close()
	groups, err := kadm.NewClient(client).ListGroups(t.Context())
	require.NoError(t, err)
	assert.Empty(t, groups, "no group has offsets")
}

// produceSpans writes 600 records of 12 processes with up to 20 spans each, a few
// large ones, a few that the collector is to refuse with the status in poison, and
// one that is no batch. It returns the names of the spans that are to arrive.
func produceSpans(t *testing.T, broker *tracingtest.Broker, random *rand.Rand) (wanted map[string]bool, poison map[string]int) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()), kgo.DefaultProduceTopic("tracing-topic"))
	require.NoError(t, err)
	defer client.Close()
	wanted, poison = map[string]bool{}, map[string]int{}
	all := []*kgo.Record{{Value: []byte("no batch")}}
	for i := range 600 {
		service := fmt.Sprint("service-", i%12)
		traces := make([]TraceID, 1+random.IntN(20))
		switch {
		case i%150 == 7:
			traces = traces[:1]
			poison[name(service, TraceID{0, int64(i) << 32})] = []int{400, 500}[i%300/150]
		case i%200 == 3:
			traces = make([]TraceID, 700)
		}
		for s := range traces {
			traces[s] = TraceID{0, int64(i)<<32 | int64(s)}
			if poison[name(service, traces[s])] == 0 {
				wanted[name(service, traces[s])] = true
			}
		}
		all = append(all, &kgo.Record{Key: []byte(service), Value: newBatch(t, service, traces...)})
	}
	require.NoError(t, client.ProduceSync(t.Context(), all...).FirstErr())
	return wanted, poison
}

func TestRecordsOfAProcessTravelTogether(t *testing.T) {
	collector := startCollector(t, func(string, []string) int { return 202 })
	var values [][]byte
	for i := range 100 {
		values = append(values, newBatch(t, fmt.Sprint("service-", i%2), TraceID{0, int64(i)}, TraceID{1, int64(i)}))
	}
	result, err := Run(t.Context(), recordsOf(values...), Filter{}, newSender(t, collector.URL()), func(int64) {})
	require.NoError(t, err)
	assert.Equal(t, Result{Records: 100, Spans: 200}, result)
	assert.Equal(t, 2, collector.Posts())
	assert.Len(t, collector.AllTaken(), 200)
}

func TestBundlesAreBounded(t *testing.T) {
	b := bundler{waiting: map[string]*bundle{}}
	add := func(service string, spans, padding int) []*bundle {
		value := newBatch(t, service+strings.Repeat("x", padding), slices.Repeat([]TraceID{{0, 1}}, spans)...)
		i, ok := Filter{}.apply(Record{Value: value})
		require.True(t, ok)
		return b.add(i)
	}
	assert.Empty(t, add("a", 300, 0))
	assert.Empty(t, add("b", 300, 0))
	full := add("a", 201, 0)
	require.Len(t, full, 1)
	assert.Equal(t, 300, full[0].spans)
	assert.Empty(t, add("large", 1, postBytes*2/3))
	assert.Len(t, add("large", 1, postBytes*2/3), 1)
	var sent int
	for i := range 40 {
		for _, full := range add(fmt.Sprint(i), 1, postBytes*2/3) {
			sent += full.bytes
		}
		assert.LessOrEqual(t, b.bytes, waitingBytes)
	}
	assert.Greater(t, sent, waitingBytes)
	b.rest()
	assert.Zero(t, b.bytes)
}

func TestOnlyTheSpansOfATraceAreSent(t *testing.T) {
	collector := startCollector(t, func(string, []string) int { return 202 })
	all := recordsOf(newBatch(t, "one", TraceID{0, 1}, TraceID{0, 2}), newBatch(t, "two", TraceID{0, 2}, TraceID{1, 1}), []byte("garbage"))
	var done doneCounter
	result, err := Run(t.Context(), all, Filter{Trace: TraceID{0, 1}}, newSender(t, collector.URL()), done.done)
	require.NoError(t, err)
	assert.Equal(t, Result{Records: 1, Spans: 1}, result)
	assert.Equal(t, map[string]int{"one-0-1": 1}, collector.AllTaken())
	done.check(t, 3)
}

func TestRefusalsAreListed(t *testing.T) {
	collector := startCollector(t, func(service string, operations []string) int {
		if len(operations) > 1 && strings.HasPrefix(service, "large") || len(operations) == 0 {
			return 413
		}
		if service == "bad" || slices.Contains(operations, "large-0-2") {
			return 400
		}
		return 202
	})
	all := recordsOf(newBatch(t, "good", TraceID{0, 1}), newBatch(t, "bad", TraceID{0, 1}, TraceID{0, 2}),
		newBatch(t, "large", TraceID{0, 1}, TraceID{0, 2}, TraceID{0, 3}), []byte("garbage"))
	result, err := Run(t.Context(), all, Filter{}, newSender(t, collector.URL()), func(int64) {})
	require.NoError(t, err)
	assert.EqualValues(t, 2, result.Records)
	assert.EqualValues(t, 3, result.Spans)
	assert.EqualValues(t, 3, result.Refused)
	var told []string
	for _, r := range result.Refusals {
		told = append(told, fmt.Sprintf("%d/%d, %d spans: %v", r.Partition, r.Offset, r.Spans, r.Reason))
	}
	slices.Sort(told)
	assert.Equal(t, []string{
		"0/1, 2 spans: jaeger answered 400 Bad Request",
		"0/2, 1 spans: jaeger answered 400 Bad Request",
		"0/3, 0 spans: jaeger answered 413 Request Entity Too Large",
	}, told)
}

func TestJaegerThatRefusesEverythingEndsTheRun(t *testing.T) {
	collector := startCollector(t, func(string, []string) int { return 400 })
	all := recordsOf(slices.Repeat([][]byte{newBatch(t, "one", TraceID{0, 1})}, 5000)...)
	result, err := Run(t.Context(), all, Filter{}, newSender(t, collector.URL()), func(int64) {})
	assert.ErrorContains(t, err, "refused the first 100 records and took none: jaeger answered 400 Bad Request")
	assert.GreaterOrEqual(t, result.Refused, int64(hopeless))
	assert.Less(t, collector.Posts(), 1000)
}

func TestARunThatIsStoppedTellsWhatWasSent(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	collector := startCollector(t, func(service string, _ []string) int {
		if service == "7" {
			return 202
		}
		return 503
	})
	var values [][]byte
	for i := range 50 {
		values = append(values, newBatch(t, fmt.Sprint(i), TraceID{0, int64(i) + 1}))
	}
	result, err := Run(ctx, recordsOf(values...), Filter{}, newSender(t, collector.URL()), func(int64) { cancel() })
	assert.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, Result{Records: 1, Spans: 1}, result)
}

func TestValuesAreSentAsTheyAre(t *testing.T) {
	value := newBatch(t, "one", TraceID{0, 1})
	i, ok := Filter{Service: "one"}.apply(Record{Value: value})
	assert.True(t, ok)
	assert.True(t, bytes.Equal(value, i.value))
}
