package ledger

import (
	"slices"
	"strings"
	"time"

	"fault-tolerant-tracing/services/internal/payload"
	"fault-tolerant-tracing/tracing/numbering"
)

// youth is how many bytes of a client are read before a gap is believed, if it was
// not known from its first batch on. A batch that Kafka refuses as too large is
// sent again in halves, after those that were on their way with it, 4 MiB and one
// record at most (see the outbox of package tracing). Where the reading begins
// between them, they seem to be missing behind it. (With the very first batch of a
// client this is not looked at: else no loss of a client that sends little would
// be found.)
const youth = 5 << 20

// Gap is a range of numbers that have not arrived.
type Gap struct {
	First int64 `json:"first"`
	Last  int64 `json:"last"`
}

func (g Gap) size() int64 { return g.Last - g.First + 1 }

// losses is what is counted of one client.
type losses struct {
	opened      int64 // batches that were missing once
	unconfirmed int64
	duplicated  int64
	dropped     DroppedSpans
}

// client is what is known of one client process. It is not safe for concurrent
// use.
type client struct {
	uuid      string
	partition int32
	epoch     uint64 // of the partition

	// The interval of knowledge: each number from since to last has arrived, but
	// for those in the gaps.
	interval    uint64 // its number
	began       time.Time
	since, last int64
	gaps        []Gap // ascending, at most maxGaps
	read        int   // bytes, up to youth

	says     numbering.Losses // the highest of its counters
	losses   losses
	lastLoss time.Time
	service  string // with losses only
	host     string
}

// begin begins an interval of knowledge with the number of a batch.
func (c *client) begin(partition int32, epoch, interval uint64, seqNo int64) {
	c.partition, c.epoch, c.interval = partition, epoch, interval
	c.began = time.Now()
	c.since, c.last, c.read = seqNo, seqNo, 0
}

// fromStart tells whether the client is known from its first batch on.
func (c *client) fromStart() bool { return c.since == 1 }

// arrive enters the number of a batch. It returns how many batches are missing
// because of it, how many no longer are, and how many there is no more room to
// watch for. Where a gap is not to be believed yet, the interval begins behind it.
func (c *client) arrive(seqNo int64, believed bool) (opened, closed, lost int64) {
	switch {
	case seqNo <= c.last:
		closed = c.close(seqNo)
	case seqNo == c.last+1:
		c.last = seqNo
	case believed:
		g := Gap{c.last + 1, seqNo - 1}
		c.gaps = append(c.gaps, g)
		c.last = seqNo
		opened = g.size()
		c.losses.opened += opened
	default:
		c.since, c.last = seqNo, seqNo
	}
	if len(c.gaps) > maxGaps {
		lost = c.gaps[0].size()
		c.losses.unconfirmed += lost
		c.gaps = slices.Delete(c.gaps, 0, 1)
	}
	return opened, closed, lost
}

// close takes a number out of the gap it is in, if it is in one.
func (c *client) close(seqNo int64) int64 {
	i := slices.IndexFunc(c.gaps, func(g Gap) bool { return g.First <= seqNo && seqNo <= g.Last })
	if i < 0 {
		return 0
	}
	var left []Gap
	if g := c.gaps[i]; g.First < seqNo {
		left = append(left, Gap{g.First, seqNo - 1})
	}
	if g := c.gaps[i]; seqNo < g.Last {
		left = append(left, Gap{seqNo + 1, g.Last})
	}
	c.gaps = slices.Replace(c.gaps, i, i+1, left...)
	return 1
}

// missing returns how many batches have not arrived.
func (c *client) missing() (n int64) {
	for _, g := range c.gaps {
		n += g.size()
	}
	return n
}

// any tells whether there is something to tell.
func (c *client) any() bool {
	return len(c.gaps) > 0 || c.losses.unconfirmed > 0 || c.losses.duplicated > 0 || c.losses.dropped != DroppedSpans{}
}

// drop enters what the client says that it has dropped so far, and returns how
// much of that is new. If the client was not known before this batch, all of it
// was before. A counter beyond maxSeqNo counts as that, so that sums fit.
func (c *client) drop(says numbering.Losses, known bool) (fresh DroppedSpans) {
	for _, counter := range []struct{ said, says, fresh *int64 }{
		{&c.says.FullQueue, &says.FullQueue, &fresh.FullQueue},
		{&c.says.TooLarge, &says.TooLarge, &fresh.TooLarge},
		{&c.says.FailedToEmit, &says.FailedToEmit, &fresh.FailedToEmit},
	} {
		now := min(*counter.says, maxSeqNo)
		*counter.fresh = max(0, now-*counter.said)
		*counter.said = max(now, *counter.said)
	}
	if !known {
		return DroppedSpans{}
	}
	c.losses.dropped.add(fresh)
	return fresh
}

// name finds out what the client is called. It decodes a batch, once per client.
func (c *client) name(spans payload.Spans) {
	if c.service != "" {
		return
	}
	c.service = clip(spans.Service())
	traces, err := spans.Decode()
	if err != nil || traces.ResourceSpans().Len() == 0 {
		return
	}
	if host, found := traces.ResourceSpans().At(0).Resource().Attributes().Get("host.name"); found {
		c.host = clip(host.AsString())
	}
}

// clip keeps a name short, and does not hold on to the bytes of its batch.
func clip(name string) string {
	return strings.ToValidUTF8(strings.Clone(name[:min(len(name), 100)]), "")
}
