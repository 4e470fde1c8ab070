package ledger

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"fault-tolerant-tracing/tracing/batch"
)

// world is a topic with the clients that write it and two relays that read it.
// It knows the truth about every batch.
type world struct {
	t       testing.TB
	rand    *rand.Rand
	clients []*writer
	gone    int
	topic   [2][]written // by partition
	readers [2]*reader
	reading [2]*reader // by partition: who reads it
	next    [2]int     // by partition: the offset to be read next
	seen    map[string]int
}

// written is a record on the topic.
type written struct {
	uuid  string
	seqNo int64
	frame Batch
}

// writer is a client process.
type writer struct {
	uuid      string
	partition int
	seqNo     int64
	stats     batch.Stats
	unsure    []written // not acknowledged yet: may be sent again
	held      []written // refused as too large: comes in halves, later
}

// reader is a relay: its ledger, and what it has read without a break.
type reader struct {
	ledger *Ledger
	runs   [2]*stretch // by partition
	twice  map[string]int64
}

// stretch is a part of a partition that was read without a break.
type stretch struct {
	from, to int
	whole    bool // it is all that its reader has read, from the beginning on
}

func newWorld(t testing.TB, seed uint64) *world {
	w := &world{t: t, rand: rand.New(rand.NewPCG(seed, 0)), seen: map[string]int{}}
	for i := range w.readers {
		w.restart(i)
	}
	w.reading = w.readers
	for range 3 {
		w.clients = append(w.clients, w.newWriter())
	}
	return w
}

func (w *world) newWriter() *writer {
	w.gone++
	return &writer{uuid: fmt.Sprintf("client-%d", w.gone), partition: w.rand.IntN(2)}
}

// restart gives a relay a new life.
func (w *world) restart(i int) {
	old := w.readers[i]
	l := New()
	l.youth = 3_000 // of batches of some 150 bytes; what is on its way at a time is less
	w.readers[i] = &reader{ledger: l, twice: map[string]int64{}}
	for p := range w.reading {
		if w.reading[p] == old {
			w.reading[p] = w.readers[i]
			w.rewind(p)
		}
	}
}

func (w *world) step() {
	i := w.rand.IntN(len(w.clients))
	c := w.clients[i]
	switch n := w.rand.IntN(1000); {
	case n < 400:
		w.send(c, w.batch(c))
	case n < 415: // the buffer is full
		c.seqNo++
		c.stats.FailedToEmit++
		w.seen["lost"]++
	case n < 425: // lost, and the client does not know
		for range 1 + w.rand.IntN(3) {
			c.seqNo++
			w.seen["lost"]++
		}
	case n < 440:
		c.stats.FullQueueDropped += w.rand.Int64N(10)
		c.stats.TooLargeDropped += w.rand.Int64N(2)
	case n < 460: // the producer is built anew
		unsure := c.unsure
		c.unsure = nil
		w.send(c, unsure...)
		w.seen["sent again"] += len(unsure)
	case n < 480 && c.seqNo > 0: // refused: others on their way pass it; not the first one, see youth
		seqNo := c.seqNo + 1
		first, second := w.batch(c), w.batch(c)
		c.seqNo = seqNo
		second.seqNo = seqNo
		second.frame = numbered(w.t, "other spans", seqNo, c.stats)
		c.held = append(c.held, first, second)
	case n < 520:
		w.release(c)
	case n < 524: // a process ends, and another begins
		w.release(c)
		w.clients[i] = w.newWriter()
	case n < 980:
		w.read(w.rand.IntN(2), w.rand.IntN(8))
	case n < 988: // a rebalance: the partition moves, or stays after all
		p := w.rand.IntN(2)
		w.reading[p] = w.readers[w.rand.IntN(2)]
		w.rewind(p)
		w.seen["rebalance"]++
	case n < 990: // past their retention, or the markers of a transaction
		p := w.rand.IntN(2)
		w.next[p] += w.rand.IntN(len(w.topic[p]) - w.next[p] + 1)
	case n < 992:
		w.restart(w.rand.IntN(2))
		w.seen["restart"]++
	}
}

// rewind goes back to what may have been committed.
func (w *world) rewind(p int) { w.next[p] -= min(w.next[p], w.rand.IntN(3)*w.rand.IntN(8)) }

func (w *world) batch(c *writer) written {
	c.seqNo++
	return written{c.uuid, c.seqNo, numbered(w.t, fmt.Sprint(c.seqNo), c.seqNo, c.stats)}
}

// send writes records. At most four batches pass one that is held.
func (w *world) send(c *writer, records ...written) {
	w.topic[c.partition] = append(w.topic[c.partition], records...)
	c.unsure = append(c.unsure, records...)
	c.unsure = c.unsure[max(0, len(c.unsure)-w.rand.IntN(6)):]
	if len(c.held) > 0 && c.seqNo-c.held[0].seqNo > 4 {
		w.release(c)
	}
}

func (w *world) release(c *writer) {
	held := c.held
	c.held = nil
	if len(held) > 0 {
		w.seen["late"]++
		w.send(c, held...)
	}
}

func (w *world) read(p, n int) {
	for range min(n, len(w.topic[p])-w.next[p]) {
		r, offset := w.reading[p], w.next[p]
		record := w.topic[p][offset]
		if r.runs[p] == nil || r.runs[p].to != offset {
			r.runs[p] = &stretch{offset, offset, offset == 0 && r.runs[p] == nil}
		}
		run := r.runs[p]
		if slices.ContainsFunc(w.topic[p][run.from:offset], func(o written) bool {
			return o.uuid == record.uuid && string(o.frame.spans.Bytes()) == string(record.frame.spans.Bytes())
		}) {
			r.twice[record.uuid]++
		}
		run.to++
		w.next[p]++
		r.ledger.Read(int32(p), int64(offset), []byte(record.uuid), record.frame)
		w.judge(r, p, record.uuid)
	}
}

// judge compares what a ledger claims of a client with the truth.
func (w *world) judge(r *reader, p int, uuid string) {
	c, _ := r.ledger.clients.Get(uuid)
	arrived := map[int64]bool{} // so far
	var says batch.Stats        // at the end: it may have been read before, and is read again
	firstInRun := int64(0)
	for offset, record := range w.topic[p] {
		if record.uuid != uuid {
			continue
		}
		if offset < r.runs[p].to {
			arrived[record.seqNo] = true
		}
		stats := record.frame.Lost
		says.FullQueueDropped = max(says.FullQueueDropped, stats.FullQueue)
		says.TooLargeDropped = max(says.TooLargeDropped, stats.TooLarge)
		says.FailedToEmit = max(says.FailedToEmit, stats.FailedToEmit)
		if offset >= r.runs[p].from && firstInRun == 0 {
			firstInRun = record.seqNo
		}
	}
	claimed, lost := []int64{}, []int64{}
	for _, g := range c.gaps {
		for n := g.First; n <= g.Last; n++ {
			claimed = append(claimed, n)
		}
	}
	for n := c.since; n <= c.last; n++ {
		if !arrived[n] {
			lost = append(lost, n)
		}
	}
	// Each loss within what is known is found, and nothing else. Where there were too many gaps, the oldest are unconfirmed.
	forgotten := len(lost) - len(claimed)
	require.GreaterOrEqual(w.t, forgotten, 0, "%s: claimed %v, lost %v", uuid, claimed, lost)
	require.Equal(w.t, lost[forgotten:], claimed, "%s", uuid)
	require.LessOrEqual(w.t, int64(forgotten), c.losses.unconfirmed)
	if forgotten > 0 {
		require.GreaterOrEqual(w.t, len(c.gaps), maxGaps-3, "given up without need")
	}
	if firstInRun == 1 {
		require.EqualValues(w.t, 1, c.since, "known from its first batch on")
	}
	require.LessOrEqual(w.t, c.losses.duplicated, r.twice[uuid])
	if c.since == 1 && r.runs[p].whole {
		require.Equal(w.t, r.twice[uuid], c.losses.duplicated)
		require.Equal(w.t, DroppedSpans{c.says.FullQueue, c.says.TooLarge, c.says.FailedToEmit}, c.losses.dropped)
	}
	require.LessOrEqual(w.t, c.losses.dropped.FullQueue, says.FullQueueDropped)
	require.LessOrEqual(w.t, c.losses.dropped.TooLarge, says.TooLargeDropped)
	require.LessOrEqual(w.t, c.losses.dropped.FailedToEmit, says.FailedToEmit)

	w.seen["claimed missing"] += len(claimed)
	w.seen["claimed twice"] += int(c.losses.duplicated)
	if c.since > 1 {
		w.seen["claimed missing, not known from the beginning"] += len(claimed)
	}
}

// balance compares the totals of a ledger with its clients.
func (w *world) balance(r *reader) {
	var sum Totals
	for _, c := range r.ledger.clients.Values() {
		sum.BatchesMissing += c.missing()
		sum.BatchesUnconfirmed += c.losses.unconfirmed
		sum.BatchesDuplicated += c.losses.duplicated
		sum.SpansDropped.add(c.losses.dropped)
	}
	require.Equal(w.t, sum, r.ledger.Status().Totals)
}

// Histories of losses, batches that come late, in halves or again, clients that
// come and go, relays that are restarted, and partitions that move between them.
// Whatever happens, a ledger claims no loss that is none, and finds each within
// what it knows.
func TestLedgerClaimsTheTruth(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(12) {
		w := newWorld(t, seed)
		for range 2_000 {
			w.step()
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
		for _, r := range w.readers {
			w.balance(r)
		}
		for what, n := range w.seen {
			seen[what] += n
		}
	}
	t.Log(seen)
	for what, n := range seen {
		require.Positive(t, n, what)
	}
	require.Len(t, seen, 8)
}
