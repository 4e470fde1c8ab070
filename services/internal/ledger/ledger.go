// Package ledger keeps account of the batches of each client process: which never
// arrived, which came twice, and how many spans the client says it has dropped.
// It knows that from the batches alone: they are numbered, from 1 on, by the
// process whose client-uuid is the key of the record, and carry its counters of
// dropped spans.
//
// It claims only what it knows. It has to see every record of a partition: where
// the offsets are not contiguous (the partition was with another relay, records
// are past their retention or read again, the topic was made anew) it begins
// anew, and what a client did before is unknown. The batches that were missing
// then are unconfirmed: nobody watches for them any more. A batch of which only a
// part arrived is not missing. The end of a process is not seen: what it did not
// send before it was killed is missing nowhere.
//
// Records without a key or a number, as Java clients write them, are outside the
// ledger and only counted.
//
// Everything is since the ledger was made, and in memory only.
package ledger

import (
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// What a ledger remembers at most. A client takes 500 bytes, its gaps and names
// 600 more, and a batch that was seen 40 at most, as maps are up to half empty:
// 10 000 × 1 100 + 2 × 100 000 × 40 bytes < 20 MB.
const (
	maxClients = 10_000
	maxGaps    = 16 // of one client
	maxSeen    = 100_000

	// Longer keys are no client-uuid (16 hexadecimal digits, or a UUID of 36
	// characters), and larger numbers no seqNo: at a batch per microsecond it would
	// take nine years to get there, and the sum over all clients fits an int64.
	maxKey   = 64
	maxSeqNo = 1 << 48
)

// Ledger keeps account of the batches of each client process. Make it with [New]. It is a prometheus.Collector of its own metrics.
type Ledger struct {
	mu         sync.Mutex
	partitions map[int32]*partition
	clients    *simplelru.LRU[string, *client]
	seen       generations
	intervals  uint64 // handed out
	totals     Totals
	youth      int // see the constant
}

// partition is what is known of the reading of one partition.
type partition struct {
	next    int64                // the offset that continues what is known
	epoch   uint64               // counts the times that it was not the one read next
	missing map[*client]struct{} // the clients with gaps
}

// New makes an empty ledger.
func New() *Ledger {
	l := &Ledger{partitions: map[int32]*partition{}, youth: youth}
	l.clients, _ = simplelru.NewLRU(maxClients, func(_ string, c *client) { l.giveUp(c) }) // fails only for a size below 1
	return l
}

// Read takes note of a record. It is to be called once for each record that was
// read, in the order of reading, by one goroutine; the batch of a record that holds
// none is empty. It never blocks for long: its time is that of a hash of the batch.
func (l *Ledger) Read(id int32, offset int64, key []byte, b Batch) {
	numbered := b.SeqNo >= 1 && b.SeqNo <= maxSeqNo && len(key) > 0 && len(key) <= maxKey
	var hash uint64
	if numbered {
		hash = xxhash.Sum64(b.spans.Bytes())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.at(id, offset)
	if !numbered {
		l.totals.RecordsOutside++
		return
	}
	c, continued := l.client(key, id, p, b.SeqNo)
	known := continued || b.SeqNo == 1
	before := c.losses
	l.note(p, c, b.SeqNo, hash, len(b.spans.Bytes()))
	l.totals.SpansDropped.add(c.drop(b.Lost, known))
	if c.losses != before {
		c.lastLoss = time.Now()
		c.name(b.spans)
	}
}

// at returns the partition after a record at this offset. If it does not follow
// the one before, what was known of the partition's clients ends.
func (l *Ledger) at(id int32, offset int64) *partition {
	p := l.partitions[id]
	if p == nil {
		p = &partition{next: offset, missing: map[*client]struct{}{}}
		l.partitions[id] = p
	}
	if offset != p.next {
		p.epoch++
		for c := range p.missing {
			l.giveUp(c)
		}
	}
	p.next = offset + 1
	return p
}

// client returns the sender of a batch, and whether it was known without a break
// up to this batch.
func (l *Ledger) client(key []byte, id int32, p *partition, seqNo int64) (c *client, continued bool) {
	c, found := l.clients.Get(string(key))
	if found && c.partition == id && c.epoch == p.epoch {
		return c, true
	}
	if found {
		l.giveUp(c) // a client whose records have moved to another partition
	} else {
		c = &client{uuid: string(key)}
		l.clients.Add(c.uuid, c)
	}
	l.intervals++
	c.begin(id, p.epoch, l.intervals, seqNo)
	return c, false
}

// note enters the number of a batch.
func (l *Ledger) note(p *partition, c *client, seqNo int64, hash uint64, size int) {
	twice := l.seen.add(batchID{c.interval, hash})
	opened, closed, lost := c.arrive(seqNo, c.fromStart() || c.read >= l.youth)
	c.read = min(c.read+size, l.youth)
	l.totals.BatchesMissing += opened - closed - lost
	l.totals.BatchesUnconfirmed += lost
	if twice {
		c.losses.duplicated++
		l.totals.BatchesDuplicated++
	}
	if len(c.gaps) > 0 {
		p.missing[c] = struct{}{}
	} else {
		delete(p.missing, c)
	}
}

// giveUp ends the watch for what is missing of a client.
func (l *Ledger) giveUp(c *client) {
	n := c.missing()
	c.gaps = nil
	c.losses.unconfirmed += n
	l.totals.BatchesMissing -= n
	l.totals.BatchesUnconfirmed += n
	delete(l.partitions[c.partition].missing, c)
}

// batchID names a batch by its bytes, within one interval of knowledge about its
// client. The hash tells the two parts of a batch that had to be halved, which have
// one number, from a batch that came twice.
type batchID struct{ interval, hash uint64 }

// generations is a set that remembers the last maxSeen batches at least, and twice
// as many at most.
type generations struct{ young, old map[batchID]struct{} }

// add returns whether the batch was there.
func (g *generations) add(id batchID) bool {
	if _, found := g.young[id]; found {
		return true
	}
	if _, found := g.old[id]; found {
		return true
	}
	if g.young == nil || len(g.young) == maxSeen {
		g.old, g.young = g.young, map[batchID]struct{}{}
	}
	g.young[id] = struct{}{}
	return false
}
