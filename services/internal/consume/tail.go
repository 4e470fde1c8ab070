package consume

import (
	"fmt"
	"sync"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// tails are how far the partitions were read, and where they end. All methods are
// safe for several goroutines.
type tails struct {
	mu sync.Mutex
	at map[int32]tail
}

type tail struct {
	read  int64     // the offset behind what was read last
	since time.Time // when that was, or until when silence was excused
	end   int64     // as the broker answered; 0: not known
}

// read notes that a partition was read up to an offset.
func (t *tails) read(partition int32, next int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.at == nil {
		t.at = make(map[int32]tail)
	}
	t.at[partition] = tail{read: next, since: time.Now(), end: t.at[partition].end}
}

// ends notes where a partition ends.
func (t *tails) ends(partition int32, end int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if at, ok := t.at[partition]; ok {
		at.end = end
		t.at[partition] = at
	}
}

func (t *tails) end(partition int32) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.at[partition].end
}

// excuse says that nothing can be told from the silence until now.
func (t *tails) excuse() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, at := range t.at {
		at.since = time.Now()
		t.at[id] = at
	}
}

func (t *tails) forget(partitions []int32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, id := range partitions {
		delete(t.at, id)
	}
}

// silent returns the partitions of which nothing was read for long.
func (t *tails) silent() map[int32]tail {
	t.mu.Lock()
	defer t.mu.Unlock()
	silent := map[int32]tail{}
	for id, at := range t.at {
		if time.Since(at.since) > stalledAfter {
			silent[id] = at
		}
	}
	return silent
}

// inspect finds out now and then what nothing else tells: where the partitions end,
// while reading is paused; whether one gives nothing though it has more; where to begin in
// those where that is not known; and whether the topic, and the certificates, are still the
// same.
func (c *Consumer) inspect(ended <-chan struct{}) error {
	now := time.Now()
	if c.login.Refresh(c.kafka.Load()) {
		c.log.Info("TLS files have changed, joining anew")
		c.work.Drain(c.work.Assigned(), drainTimeout)
		c.storeAll()
		return c.renew(ended)
	}
	if c.paused {
		c.tails.excuse()
	}
	if now.Sub(c.asked) > askInterval {
		if unknown := c.unknown; len(unknown) > 0 {
			c.unknown = nil
			if err := c.assign(c.kafka.Load(), unknown); err != nil {
				return err
			}
		}
		c.asked = time.Now()
		switch {
		case c.away.Load():
			c.tails.excuse()
			go c.use(c.askWhetherBack)
		case c.paused:
			assigned, _ := c.kafka.Load().Assignment() // if it fails the lag stays as it was
			go c.use(func(client *kafka.Consumer) { c.askEnds(client, assigned) })
		default:
			c.findStalled()
		}
	}
	if now.Sub(c.checked) > topicInterval {
		c.checked = now
		go c.use(c.checkTopicID)
	}
	if c.anew.Swap(false) {
		c.log.Warn("the topic was made anew, joining anew to read it from its beginning")
		return c.renew(ended)
	}
	return nil
}

// askWhetherBack asks the brokers for anything: while there is nothing to read, only
// that tells that they are back.
func (c *Consumer) askWhetherBack(client *kafka.Consumer) {
	if _, err := client.GetMetadata(&c.cfg.Topic, false, int(askTimeout.Milliseconds())); err == nil {
		c.away.Store(false)
		c.troubles.over(whole)
	}
}

// askEnds asks where the partitions end. While they are paused nothing is fetched that
// would tell.
func (c *Consumer) askEnds(client *kafka.Consumer, partitions []kafka.TopicPartition) {
	for _, p := range partitions {
		_, end, err := client.QueryWatermarkOffsets(c.cfg.Topic, p.Partition, int(askTimeout.Milliseconds()))
		if err != nil {
			c.log.Debug("could not ask for the end of a partition", "err", err)
			return
		}
		c.tails.ends(p.Partition, end)
	}
}

// findStalled tells of partitions that give nothing though they have more, as when a
// batch of records unpacks to more than the client takes.
func (c *Consumer) findStalled() {
	for id, at := range c.tails.silent() {
		_, high, err := c.kafka.Load().GetWatermarkOffsets(c.cfg.Topic, id)
		if err != nil || high <= at.read || c.troubles.get(id) != nil {
			continue
		}
		stall := c.troubles.cause(fmt.Errorf("partition %d has more, but gives nothing from offset %d on", id, at.read))
		c.troubles.note(id, stall)
		c.log.Error("a partition stalls; docs/operations.md tells the ways out", "partition", id, "offset", at.read, "err", stall)
	}
}
