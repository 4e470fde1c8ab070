package ledger

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"github.com/uber/jaeger-client-go/thrift"
	"github.com/uber/jaeger-client-go/thrift-gen/jaeger"

	"fault-tolerant-tracing/services/internal/payload"
	"fault-tolerant-tracing/tracing/batch"
)

// numbered encodes a batch as package tracing does: one span, a number, counters.
func numbered(t testing.TB, operation string, seqNo int64, stats batch.Stats) Batch {
	t.Helper()
	host := "host-1"
	process, err := batch.EncodeProcess(&jaeger.Process{
		ServiceName: "answer", Tags: []*jaeger.Tag{{Key: "hostname", VType: jaeger.TagType_STRING, VStr: &host}},
	})
	require.NoError(t, err)
	span, err := batch.AppendSpan(nil, &jaeger.Span{OperationName: operation})
	require.NoError(t, err)
	return of(t, batch.Encode(process, span, 1, seqNo, stats))
}

func of(t testing.TB, value []byte) Batch {
	t.Helper()
	spans, err := payload.Parse(value)
	require.NoError(t, err)
	return Of(nil, spans)
}

// reading feeds a ledger with records of partition 0.
type reading struct {
	*Ledger
	t      testing.TB
	offset int64
}

func newReading(t testing.TB) *reading { return &reading{Ledger: New(), t: t} }

// client reads batches of one client, each a word: its number, a letter where the
// spans are others than those of the same number without it; "|" is a break of the
// offsets.
func (r *reading) client(uuid, history string) {
	r.t.Helper()
	for _, word := range strings.Fields(history) {
		if word == "|" {
			r.offset++
			continue
		}
		seqNo, err := strconv.ParseInt(strings.TrimRight(word, "abc"), 10, 64)
		require.NoError(r.t, err)
		r.batch(uuid, numbered(r.t, word, seqNo, batch.Stats{}))
	}
}

func (r *reading) batch(uuid string, frame Batch) {
	r.Read(0, r.offset, []byte(uuid), frame)
	r.offset++
}

func TestLedger(t *testing.T) {
	type want struct {
		missing                 string
		unconfirmed, duplicated int64
		from                    int64
	}
	for _, test := range []struct {
		name, history string
		want          want
	}{
		{"all arrive", "1 2 3 4", want{from: 1}},
		{"one is missing", "1 2 4", want{missing: "3-3", from: 1}},
		{"several are missing", "1 5 6 9", want{missing: "2-4 7-8", from: 1}},
		{"a late one closes its gap", "1 3 2 4", want{from: 1}},
		{"a late one in the middle of a gap", "1 6 4", want{missing: "2-3 5-5", from: 1}},
		{"a late one at the beginning of a gap", "1 6 2", want{missing: "3-5", from: 1}},
		{"a late one at the end of a gap", "1 6 5", want{missing: "2-4", from: 1}},
		{"a producer built anew", "1 2 3 4 5 6 7 5 6 7 8", want{duplicated: 3, from: 1}},
		{"a producer built anew twice", "1 2 3 2 3 2 3 4", want{duplicated: 4, from: 1}},
		{"the parts of a batch that was too large", "1 2a 2b 3", want{from: 1}},
		{"parts that come after those behind them", "1 4 5 2a 2b 3a 3b 6", want{from: 1}},
		{"parts of parts", "1 2a 2b 2c 3", want{from: 1}},
		{"one part twice", "1 2a 2b 2b 3", want{duplicated: 1, from: 1}},
		{"one that came late, twice", "1 3 2 2", want{duplicated: 1, from: 1}},

		{"not seen from the beginning", "7 8 9", want{from: 7}},
		{"not seen from the beginning: what was before is unknown", "7 5 6 7", want{duplicated: 1, from: 7}},
		{"not seen from the beginning: a gap may be of parts that come after those behind them", "5a 5b 8 9", want{from: 8}},
		{"a break: what was before is unknown", "1 2 3 | 9 10", want{from: 9}},
		{"a break: what was missing is unconfirmed", "1 2 5 | 6 7", want{unconfirmed: 2, from: 6}},
		{"a break: what was missing may come, and is no longer expected", "1 2 5 | 4 6", want{unconfirmed: 2, from: 6}},
		{"a break: read again", "1 2 3 | 1 2 3 4", want{from: 1}},
		{"a break: parts read again", "1 2a 2b 3 | 2a 2b 3", want{from: 2}},
		{"a break: sent again around it", "1 2 3 | 2 3 2 3", want{duplicated: 2, from: 2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newReading(t)
			r.client("a", test.history)
			r.client("b", "1 2 3") // has nothing to do with it
			c, found := r.clients.Get("a")
			require.True(t, found)
			var missing []string
			for _, g := range c.gaps {
				missing = append(missing, fmt.Sprintf("%d-%d", g.First, g.Last))
			}
			require.Equal(t, test.want, want{strings.Join(missing, " "), c.losses.unconfirmed, c.losses.duplicated, c.since})
			s := r.Status()
			require.Equal(t, Totals{
				BatchesMissing: c.missing(), BatchesUnconfirmed: c.losses.unconfirmed, BatchesDuplicated: c.losses.duplicated,
			}, s.Totals)
			require.Len(t, s.Losses, min(1, int(c.missing()+c.losses.unconfirmed+c.losses.duplicated)))
		})
	}
}

func TestLedgerBelievesGapsBehindTheFirstBytesOfAnUnknownClient(t *testing.T) {
	r := newReading(t)
	operation := strings.Repeat("x", youth/4)
	for _, seqNo := range []int64{7, 8, 9, 11, 12, 14} {
		r.batch("a", numbered(t, operation, seqNo, batch.Stats{}))
	}
	c := r.Status().Losses[0]
	require.Equal(t, []Gap{{13, 13}}, c.Missing)
	require.EqualValues(t, 11, c.KnownFrom)
}

func TestLedgerForgetsNothingWhenNothingWasReadInBetween(t *testing.T) {
	r := newReading(t)
	r.client("a", "1 2")
	r.Read(1, 100, []byte("b"), numbered(t, "", 1, batch.Stats{})) // another partition, elsewhere
	r.client("a", "4")
	require.Equal(t, []Gap{{3, 3}}, r.Status().Losses[0].Missing)
}

func TestLedgerBreaksOnlyThePartition(t *testing.T) {
	l := New()
	for i, seqNo := range []int64{1, 3} {
		l.Read(0, int64(i), []byte("a"), numbered(t, "", seqNo, batch.Stats{}))
		l.Read(1, int64(i), []byte("b"), numbered(t, "", seqNo, batch.Stats{}))
	}
	require.EqualValues(t, 2, l.Status().BatchesMissing)
	l.Read(1, 5, nil, Batch{})
	s := l.Status()
	require.EqualValues(t, 1, s.BatchesMissing)
	require.EqualValues(t, 1, s.BatchesUnconfirmed)
	require.Equal(t, 1, s.Clients.Known)
	require.Equal(t, 1, s.Clients.Unknown)
}

func TestLedgerClientThatMovesToAnotherPartition(t *testing.T) {
	l := New()
	l.Read(0, 0, []byte("a"), numbered(t, "", 1, batch.Stats{}))
	l.Read(0, 1, []byte("a"), numbered(t, "", 3, batch.Stats{}))
	l.Read(1, 0, []byte("a"), numbered(t, "", 7, batch.Stats{}))
	s := l.Status()
	require.EqualValues(t, 0, s.BatchesMissing)
	require.EqualValues(t, 1, s.BatchesUnconfirmed)
	require.EqualValues(t, 7, s.Losses[0].KnownFrom)
	l.Read(0, 3, nil, Batch{}) // a break where the client no longer is
	require.EqualValues(t, 1, l.Status().BatchesUnconfirmed)
}

func TestLedgerCountsWhatClientsHaveDropped(t *testing.T) {
	r := newReading(t)
	say := func(uuid string, seqNo, full, large, failed int64) {
		r.batch(uuid, numbered(t, fmt.Sprint(r.offset), seqNo, batch.Stats{FullQueueDropped: full, TooLargeDropped: large, FailedToEmit: failed}))
	}
	say("new", 1, 1, 0, 0)
	say("new", 2, 1, 2, 0)
	say("new", 4, 1, 2, 30)
	say("new", 3, 1, 2, 0) // late: it knew less then
	say("new", 5, 1, 2, 30)
	require.Equal(t, DroppedSpans{1, 2, 30}, r.Status().SpansDropped)

	say("old", 9, 100, 200, 300) // when that was is unknown
	say("old", 10, 100, 201, 300)
	s := r.Status()
	require.Equal(t, DroppedSpans{1, 3, 30}, s.SpansDropped)
	require.Equal(t, "old", s.Losses[0].Client)
	require.Equal(t, DroppedSpans{0, 1, 0}, s.Losses[0].Dropped)
	require.Equal(t, DroppedSpans{100, 201, 300}, s.Losses[0].Says)

	r.offset -= 7 // read again
	for _, seqNo := range []int64{1, 2, 4} {
		say("new", seqNo, 1, 2, 30)
	}
	require.Equal(t, DroppedSpans{1, 3, 30}, r.Status().SpansDropped)
	r.offset += 100 // what was dropped meanwhile, another relay has seen
	say("new", 50, 10, 10, 100)
	require.Equal(t, DroppedSpans{1, 3, 30}, r.Status().SpansDropped)
	say("new", 51, 10, 10, 101)
	require.Equal(t, DroppedSpans{1, 3, 31}, r.Status().SpansDropped)
}

func TestLedgerRecordsOutside(t *testing.T) {
	unnumbered := thrift.NewTMemoryBuffer()
	java := jaeger.Batch{Process: &jaeger.Process{ServiceName: "test"}, Spans: []*jaeger.Span{{OperationName: "operation"}}}
	require.NoError(t, java.Write(t.Context(), thrift.NewTBinaryProtocolConf(unnumbered, nil)))
	frame := of(t, unnumbered.Bytes())
	for _, test := range []struct {
		name  string
		key   string
		frame Batch
	}{
		{"no batch", "a", Batch{}},
		{"no number", "a", frame},
		{"no key", "", numbered(t, "", 1, batch.Stats{})},
		{"a key that is no client-uuid", strings.Repeat("a", maxKey+1), numbered(t, "", 1, batch.Stats{})},
		{"a number below the first", "a", numbered(t, "", 0, batch.Stats{})},
		{"a number that no client comes to", "a", numbered(t, "", maxSeqNo+1, batch.Stats{})},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newReading(t)
			r.batch(test.key, test.frame)
			s := r.Status()
			require.EqualValues(t, 1, s.RecordsOutside)
			require.Zero(t, s.Clients.Known+s.Clients.Unknown)
			r.client("b", "1 3")
			require.EqualValues(t, 1, r.Status().BatchesMissing, "the offsets go on")
		})
	}
}

func TestLedgerTotalsStayInRange(t *testing.T) {
	r := newReading(t)
	most := batch.Stats{FullQueueDropped: 1<<63 - 1, TooLargeDropped: -1, FailedToEmit: -1 << 63}
	for i := range 1000 {
		r.batch(fmt.Sprint(i), numbered(t, "", 1, batch.Stats{}))
		r.batch(fmt.Sprint(i), numbered(t, "", maxSeqNo, most))
	}
	s := r.Status()
	require.EqualValues(t, 1000*(maxSeqNo-2), s.BatchesMissing)
	require.Equal(t, DroppedSpans{FullQueue: 1000 * maxSeqNo}, s.SpansDropped)
	require.Less(t, float64(maxSeqNo)*maxClients, float64(1<<63))
}

func TestLedgerMemoryIsBounded(t *testing.T) {
	const clients = maxClients + 1_000
	r := newReading(t)
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	var frames []Batch
	for n := range int64(maxGaps + 2) {
		frames = append(frames, numbered(t, "", 1+2*n, batch.Stats{}))
	}
	before := heap()
	for i := range clients {
		uuid := fmt.Sprintf("%036d", i)
		for _, frame := range frames {
			r.batch(uuid, frame)
		}
	}
	for i := range 2 * maxSeen {
		r.seen.add(batchID{0, uint64(i)})
	}
	grown := heap() - before
	t.Logf("%d bytes for %d clients with %d gaps each", grown, maxClients, maxGaps)
	require.Less(t, grown, int64(20_000_000))

	s := r.Status()
	require.Equal(t, maxClients, s.Clients.Known)
	require.Len(t, s.Losses, maxListed)
	require.Equal(t, fmt.Sprintf("%036d", clients-1), s.Losses[0].Client)
	require.Len(t, s.Losses[0].Missing, maxGaps)
	require.EqualValues(t, 4, s.Losses[0].Missing[0].First, "the oldest gap is given up")
	require.EqualValues(t, 1, s.Losses[0].Unconfirmed)
	require.EqualValues(t, clients*(maxGaps+1), s.BatchesMissing+s.BatchesUnconfirmed)
	require.EqualValues(t, maxClients*maxGaps, s.BatchesMissing)

	r.client(fmt.Sprintf("%036d", 0), "50 51") // forgotten
	s = r.Status()
	require.Equal(t, 1, s.Clients.Unknown)
	require.EqualValues(t, clients*(maxGaps+1), s.BatchesMissing+s.BatchesUnconfirmed)
	runtime.KeepAlive(r)
}

func TestLedgerRemembersTheLatestBatches(t *testing.T) {
	var g generations
	for i := range uint64(3 * maxSeen) {
		require.False(t, g.add(batchID{1, i}))
		if i >= maxSeen {
			require.True(t, g.add(batchID{1, i - maxSeen + 1}))
		}
	}
	require.LessOrEqual(t, len(g.young)+len(g.old), 2*maxSeen)
	require.False(t, g.add(batchID{1, 0}))
	require.False(t, g.add(batchID{2, 3*maxSeen - 1}))
}

func TestLedgerStatus(t *testing.T) {
	r := newReading(t)
	r.batch("", Batch{})
	r.client("quiet", "1 2")
	r.client("closed", "1 3 2")
	r.client("a\xff", "1 2 4")
	r.client("b", "1 2 2")
	s := r.Status()
	require.Len(t, s.Losses, 2)
	require.Equal(t, []string{"b", "a\uFFFD"}, []string{s.Losses[0].Client, s.Losses[1].Client})
	require.Equal(t, []string{"answer", "host-1"}, []string{s.Losses[0].Service, s.Losses[0].Host})
	text, err := json.Marshal(s)
	require.NoError(t, err)
	require.Contains(t, string(text), `"clients":{"known":4,"unknown":0}`)
	require.Contains(t, string(text), `"missing":[{"first":3,"last":3}]`)
	require.Contains(t, string(text), `"batches_missing":1,"batches_unconfirmed":0,"batches_duplicated":1`)

	require.NoError(t, testutil.CollectAndCompare(r.Ledger, strings.NewReader(`
# HELP relay_ledger_batches_missing Batches that have not arrived, by the numbers of those that have. They may still come.
# TYPE relay_ledger_batches_missing gauge
relay_ledger_batches_missing 1
# HELP relay_ledger_batches_duplicated_total Batches that came twice.
# TYPE relay_ledger_batches_duplicated_total counter
relay_ledger_batches_duplicated_total 1
# HELP relay_ledger_batches_unconfirmed_total Batches that were missing when the relay last knew all of their client's batches.
# TYPE relay_ledger_batches_unconfirmed_total counter
relay_ledger_batches_unconfirmed_total 0
# HELP relay_ledger_records_outside_total Records of which the ledger knows nothing, as they have no key or no number.
# TYPE relay_ledger_records_outside_total counter
relay_ledger_records_outside_total 1
# HELP relay_ledger_clients Client processes that the ledger remembers, by knowledge: known from their first batch on, or unknown before a later one.
# TYPE relay_ledger_clients gauge
relay_ledger_clients{knowledge="known"} 4
relay_ledger_clients{knowledge="unknown"} 0
# HELP relay_ledger_spans_dropped_total Spans that clients say they have dropped, by reason: full_queue, too_large or failed_to_emit.
# TYPE relay_ledger_spans_dropped_total counter
relay_ledger_spans_dropped_total{reason="failed_to_emit"} 0
relay_ledger_spans_dropped_total{reason="full_queue"} 0
relay_ledger_spans_dropped_total{reason="too_large"} 0
`)))
	problems, err := testutil.CollectAndLint(r.Ledger)
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestLedgerStatusWhileReading(t *testing.T) {
	r := newReading(t)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 100 {
				_ = r.Status()
			}
		})
	}
	for i := range 100 {
		r.client(fmt.Sprint(i), "1 2 4 | 5")
	}
	all.Wait()
}

func BenchmarkLedger(b *testing.B) {
	r := newReading(b)
	operation := strings.Repeat("x", 40_000) // as large as 100 spans
	frames := make([]Batch, 1000)
	for i := range frames {
		frames[i] = numbered(b, operation, int64(i+1), batch.Stats{})
	}
	for b.Loop() {
		r.batch("a", frames[r.offset%1000])
	}
}

// A record of OTLP says in headers what a batch of jaeger.thrift says in its fields.
func TestLedgerReadsHeaders(t *testing.T) {
	thrift := numbered(t, "a", 1, batch.Stats{})
	record := func(seqNo, losses string) Batch {
		spans, err := payload.Parse(thrift.spans.AppendOTLP(nil, 0, 1))
		require.NoError(t, err)
		return Of([]kafka.Header{{Key: "other"}, {Key: "tracing.seq-no", Value: []byte(seqNo)}, {Key: "tracing.losses", Value: []byte(losses)}}, spans)
	}
	r := newReading(t)
	r.batch("a", record("1", "full_queue=0 too_large=0 failed_to_emit=0"))
	r.batch("a", record("4", "full_queue=1 too_large=2 failed_to_emit=3"))
	r.batch("a", record("garbage", "garbage"))
	s := r.Status()
	require.EqualValues(t, 2, s.BatchesMissing)
	require.Equal(t, DroppedSpans{1, 2, 3}, s.SpansDropped)
	require.EqualValues(t, 1, s.RecordsOutside)
	require.Len(t, s.Losses, 1)
	require.Equal(t, []string{"answer", "host-1"}, []string{s.Losses[0].Service, s.Losses[0].Host})
}
