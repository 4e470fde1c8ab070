package replay

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	jaegerthrift "github.com/uber/jaeger-client-go/thrift-gen/jaeger"

	"fault-tolerant-tracing/services/internal/deliver"
	"fault-tolerant-tracing/services/internal/dispatch"
	"fault-tolerant-tracing/services/internal/scan"
	"fault-tolerant-tracing/tracing/batch"
	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/otlp"
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
	jaeger := newJaeger(func(_, operations []string) int {
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

	var shown fakeMeter
	ctx, cancel := context.WithTimeout(t.Context(), 45*time.Second)
	defer cancel()
	result, err := Run(ctx, source, Config{Endpoint: jaeger.endpoint(), Meter: &shown, Read: deliver.Endpoint{}.Read})
	require.NoError(t, err)
	assert.Equal(t, total, shown.records)
	for operation := range wanted {
		require.Equal(t, 1, jaeger.taken[operation], operation)
	}
	assert.Len(t, jaeger.taken, len(wanted))
	assert.EqualValues(t, len(wanted), result.Spans)
	assert.EqualValues(t, len(poison)+1, result.Refused)
	assert.Len(t, result.Refusals, len(poison)+1)
	assert.Equal(t, total, result.Records+result.Refused)
	t.Logf("%d records, %d spans, %d posts", total, result.Spans, jaeger.posted())

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
			poison[name(service, otlp.NewTraceID(0, int64(i)<<32))] = []int{400, 500}[i%300/150]
		case i%200 == 3:
			traces = make([]TraceID, 700)
		}
		for s := range traces {
			traces[s] = otlp.NewTraceID(0, int64(i)<<32|int64(s))
			if poison[name(service, traces[s])] == 0 {
				wanted[name(service, traces[s])] = true
			}
		}
		all = append(all, &kgo.Record{Key: []byte(service), Value: newBatch(t, service, traces...)})
	}
	require.NoError(t, client.ProduceSync(t.Context(), all...).FirstErr())
	return wanted, poison
}

// six returns six records of one process with a span each: bad-0-1 and good.
func six(t *testing.T) records {
	t.Helper()
	var values [][]byte
	for i := range 6 {
		values = append(values, newBatch(t, "one", otlp.NewTraceID(0, int64(i))))
	}
	return recordsOf(values...)
}

// ofOneSpan answers posts with a certain span with this, all others with 202.
func ofOneSpan(operation string, status int) *fakeJaeger {
	return newJaeger(func(_, operations []string) int {
		if slices.Contains(operations, operation) {
			return status
		}
		return 202
	})
}

// One record never takes others along, wherever it lies and whatever it draws.
func TestOneBadRecordIsNamedAndTheOthersAreSent(t *testing.T) {
	for _, status := range []int{hangUp, silence, 400, 403, 413, 500, 503, 504} {
		for bad := range 6 {
			t.Run(fmt.Sprint(status, " ", bad), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					result, err := ofOneSpan(fmt.Sprint("one-0-", bad), status).send(t, six(t))
					require.NoError(t, err)
					assert.EqualValues(t, 5, result.Records)
					assert.EqualValues(t, 5, result.Spans)
					require.Len(t, result.Refusals, 1)
					assert.EqualValues(t, bad, result.Refusals[0].Offset)
					assert.Equal(t, 1, result.Refusals[0].Spans)
				})
			})
		}
	}
}

func TestRecordsOfAProcessTravelTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		jaeger := newJaeger(func(_, _ []string) int { return 202 })
		var values [][]byte
		for i := range 1000 {
			values = append(values, newBatch(t, fmt.Sprint("service-", i%2), otlp.NewTraceID(0, int64(i)), otlp.NewTraceID(1, int64(i))))
		}
		result, err := jaeger.send(t, recordsOf(values...))
		require.NoError(t, err)
		assert.Equal(t, Result{Records: 1000, Spans: 2000}, result)
		assert.Len(t, jaeger.taken, 2000)
		assert.Less(t, jaeger.posted(), 200)
	})
}

func TestOnlyTheSpansOfATraceAreSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		jaeger := newJaeger(func(_, _ []string) int { return 202 })
		all := recordsOf(newBatch(t, "one", otlp.NewTraceID(0, 1), otlp.NewTraceID(0, 2)), newBatch(t, "two", otlp.NewTraceID(0, 2), otlp.NewTraceID(1, 1)), []byte("garbage"), nil)
		result, err := jaeger.sendSome(t, all, Filter{Trace: otlp.NewTraceID(0, 1)})
		require.NoError(t, err)
		assert.Equal(t, Result{Records: 1, Spans: 1}, result)
		assert.Equal(t, map[string]int{"one-0-1": 1}, jaeger.taken)
	})
}

func TestRefusalsAreListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		jaeger := newJaeger(func(services, operations []string) int {
			switch {
			case slices.Contains(services, "bad"):
				return 400
			case len(operations) > 1 && slices.Contains(services, "large"):
				return 413
			case slices.Contains(operations, "large-0-2"):
				return 500
			}
			return 202
		})
		all := recordsOf(newBatch(t, "good", otlp.NewTraceID(0, 1)), newBatch(t, "bad", otlp.NewTraceID(0, 1), otlp.NewTraceID(0, 2)),
			newBatch(t, "large", otlp.NewTraceID(0, 1), otlp.NewTraceID(0, 2), otlp.NewTraceID(0, 3)), nil)
		result, err := jaeger.send(t, all)
		require.NoError(t, err)
		assert.EqualValues(t, 2, result.Records)
		assert.EqualValues(t, 3, result.Spans)
		assert.EqualValues(t, 2, result.Refused)
		var told []string
		for _, r := range result.Refusals {
			told = append(told, fmt.Sprintf("%d/%d, %d spans: %v", r.Partition, r.Offset, r.Spans, r.Reason))
		}
		slices.Sort(told)
		assert.Equal(t, []string{
			"0/1, 2 spans: jaeger answered 400 Bad Request",
			"0/2, 1 spans: jaeger answered 500 Internal Server Error",
		}, told)
	})
}

// Of two batches in one value Jaeger would store the first, and a list that claims so
// many spans makes it allocate for them all.
func TestWhatIsNoBatchIsNeverPosted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		two := append(newBatch(t, "one", otlp.NewTraceID(0, 1)), newBatch(t, "one", otlp.NewTraceID(0, 2))...)
		process, err := batch.EncodeProcess(&jaegerthrift.Process{ServiceName: "one"})
		require.NoError(t, err)
		claims := batch.Encode(process, nil, 100_000_000, 1, batch.Stats{})
		begin := time.Now()
		jaeger := newJaeger(func(_, _ []string) int {
			if time.Since(begin) < time.Second {
				return 503
			}
			return 202
		})
		var values [][]byte
		for range 40 {
			values = append(values, two, claims, []byte("garbage"))
		}
		result, err := jaeger.send(t, recordsOf(append(values, newBatch(t, "one", otlp.NewTraceID(0, 3)))...))
		require.NoError(t, err)
		assert.Equal(t, map[string]int{"one-0-3": 1}, jaeger.taken)
		assert.EqualValues(t, 120, result.Refused, "they are no reason to give up: Jaeger has not refused them")
		assert.ErrorContains(t, result.Refusals[0].Reason, "no batch of spans: ")
	})
}

func TestJaegerThatRefusesEverythingEndsTheRun(t *testing.T) {
	for _, status := range []int{400, 413, 500} {
		synctest.Test(t, func(t *testing.T) {
			jaeger := newJaeger(func(_, _ []string) int { return status })
			var values [][]byte
			for i := range 30_000 {
				values = append(values, newBatch(t, "one", otlp.NewTraceID(0, int64(i))))
			}
			begin := time.Now()
			_, err := jaeger.send(t, recordsOf(values...))
			assert.ErrorContains(t, err, fmt.Sprint("jaeger at http://jaeger/v1/traces has refused everything so far: jaeger answered ", status))
			assert.Less(t, jaeger.posted(), 1000)
			assert.Less(t, time.Since(begin), time.Minute)
		})
	}
}

// A broken client's records in front must not keep the others, though they take up all
// the room in memory.
func TestManyLargeBadRecordsDoNotBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		jaeger := newJaeger(func(services, _ []string) int {
			if slices.ContainsFunc(services, func(service string) bool { return service != "good" }) {
				return 500
			}
			return 202
		})
		var values [][]byte
		for i := range 90 {
			values = append(values, newBatch(t, fmt.Sprint(i, string(make([]byte, 100_000))), otlp.NewTraceID(0, 1)))
		}
		values = slices.Insert(values, 0, newBatch(t, "good", otlp.NewTraceID(0, 1)))
		for i := range 100 {
			values = append(values, newBatch(t, "good", otlp.NewTraceID(1, int64(i))))
		}
		result, err := jaeger.send(t, recordsOf(values...))
		require.NoError(t, err)
		assert.EqualValues(t, 101, result.Records)
		assert.EqualValues(t, 90, result.Refused)
	})
}

func TestARunThatIsStoppedTellsWhatWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		jaeger := newJaeger(func(services, _ []string) int {
			if slices.Equal(services, []string{"7"}) {
				return 202
			}
			return 503
		})
		var values [][]byte
		for i := range 50 {
			values = append(values, newBatch(t, fmt.Sprint(i), otlp.NewTraceID(0, int64(i)+1)))
		}
		shown := fakeMeter{added: func(int64) { cancel() }}
		result, err := Run(ctx, recordsOf(values...), Config{Endpoint: jaeger.endpoint(), Meter: &shown, Read: deliver.Endpoint{}.Read})
		assert.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, Result{Records: 1, Spans: 1}, result)
		assert.EqualError(t, shown.waiting, "jaeger answered 503 Service Unavailable")
	})
}

// However long Jaeger is away, and whatever stands before it answers meanwhile.
func TestAbsenceIsWaitedOut(t *testing.T) {
	for _, tt := range []struct{ records, before, status int }{
		{6, 0, 503}, {6, 0, 429}, {6, 1, away}, {12_000, 0, 503}, {12_000, 300, 503}, {12_000, 300, hangUp}, {12_000, 300, away},
	} {
		t.Run(fmt.Sprint(tt), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				taken := 0
				jaeger := newJaeger(func(_, _ []string) int {
					if taken >= tt.before && time.Since(begin) < 5*time.Minute {
						return tt.status
					}
					taken++
					return 202
				})
				var values [][]byte
				for i := range tt.records {
					values = append(values, newBatch(t, fmt.Sprint(i), otlp.NewTraceID(0, 1)))
				}
				result, err := jaeger.send(t, recordsOf(values...))
				require.NoError(t, err)
				assert.Equal(t, Result{Records: int64(tt.records), Spans: int64(tt.records)}, result)
			})
		})
	}
}

func TestWrongAddressesAreOneSentence(t *testing.T) {
	for _, tt := range []struct {
		status int
		want   string
		within time.Duration
	}{
		{404, "http://jaeger/v1/traces takes no spans, as http://localhost:4318/v1/traces does, or, in Jaeger's own format, http://localhost:14268/api/traces: jaeger answered 404 Not Found", 5 * time.Second},
		{200, "http://jaeger/v1/traces takes no spans, as http://localhost:4318/v1/traces does, or, in Jaeger's own format, http://localhost:14268/api/traces: jaeger answered 200 OK", 5 * time.Second},
		{away, "jaeger at http://jaeger/v1/traces cannot be reached: post to jaeger: dial: connection refused", 11 * time.Second},
		{hangUp, "jaeger at http://jaeger/v1/traces cannot be reached: post to jaeger: EOF", 11 * time.Second},
		{silence, "jaeger at http://jaeger/v1/traces cannot be reached: post to jaeger: context deadline exceeded", 3 * time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			_, err := newJaeger(func(_, _ []string) int { return tt.status }).send(t, six(t))
			assert.EqualError(t, err, tt.want)
			assert.Less(t, time.Since(begin), tt.within, tt.want)
		})
	}
}

func TestAnUnknownHostIsNotWaitedFor(t *testing.T) {
	var e endpoint
	unknown := fmt.Errorf("post: %w", &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "jaeger.invalid", IsNotFound: true}})
	now := time.Now()
	assert.Error(t, e.ended(now, nil, unknown))
	assert.NoError(t, e.ended(now, nil, errors.New("connection refused")))
	e.there = true
	assert.NoError(t, e.ended(now, nil, unknown), "a Jaeger that was there comes back")
}

// What is told as through may be removed: nothing before it is unfinished.
func TestThroughIsToldOnlyWhatIsFinished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		jaeger := ofOneSpan("700-0-1", 500)
		var values [][]byte
		for i := range 2000 {
			values = append(values, newBatch(t, fmt.Sprint(i), otlp.NewTraceID(0, 1)))
		}
		kept := false
		var told []int64
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := Run(ctx, recordsOf(values...), Config{
			Endpoint: jaeger.endpoint(), Meter: new(fakeMeter), Read: deliver.Endpoint{}.Read,
			SetAside: func(_ context.Context, p dispatch.Part, _ error) error {
				assert.EqualValues(t, 700, p.TopicPartition.Offset)
				kept = true
				return nil
			},
			Through: func(before map[int32]int64) error {
				told = append(told, before[0])
				assert.True(t, before[0] <= 700 || kept)
				return nil
			},
		})
		require.NoError(t, err)
		assert.Greater(t, len(told), 1)
		assert.EqualValues(t, 2000, told[len(told)-1])
	})
}

func TestWhatCannotBeKeptEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := errors.New("disk full")
		told := map[int32]int64{}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := Run(ctx, six(t), Config{
			Endpoint: ofOneSpan("one-0-3", 400).endpoint(), Meter: new(fakeMeter), Read: deliver.Endpoint{}.Read,
			SetAside: func(context.Context, dispatch.Part, error) error { return full },
			Through:  func(before map[int32]int64) error { told = before; return nil },
		})
		assert.ErrorIs(t, err, full)
		assert.LessOrEqual(t, told[0], int64(3))
	})
}

// brokenSource fails behind its records.
type brokenSource struct{ records }

var errBroken = errors.New("segment is broken")

func (s brokenSource) Read(ctx context.Context, yield func(Record) error) error {
	_ = s.records.Read(ctx, yield)
	time.Sleep(time.Minute) // all is sent meanwhile
	return errBroken
}

func TestASourceThatFailsEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		jaeger := newJaeger(func(_, _ []string) int { return 202 })
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		result, err := Run(ctx, brokenSource{six(t)}, Config{Endpoint: jaeger.endpoint(), Meter: new(fakeMeter), Read: deliver.Endpoint{}.Read})
		assert.ErrorIs(t, err, errBroken)
		assert.Equal(t, Result{Records: 6, Spans: 6}, result)
	})
}
