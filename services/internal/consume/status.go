package consume

import (
	"math"
	"slices"
	"time"
)

// Status is what a consumer is doing at one moment.
type Status struct {
	State      State             `json:"state"`
	Since      time.Time         `json:"since"`
	InFlight   int               `json:"in_flight"`
	Oldest     *time.Time        `json:"oldest_unfinished,omitempty"` // timestamp of the oldest record read and unfinished
	Waiting    int               `json:"waiting"`                     // read and not in flight
	Counts     Counts            `json:"counts"`
	LastError  string            `json:"last_error,omitempty"`
	LastFailed *time.Time        `json:"last_failed,omitempty"`
	Partitions []PartitionStatus `json:"partitions"`
}

// PartitionStatus is the progress in one assigned partition.
type PartitionStatus struct {
	Partition  int32 `json:"partition"`
	Next       int64 `json:"next"`       // the offset to commit; -1: not known yet
	Lag        int64 `json:"lag"`        // records on the topic from there on; -1: not known yet
	Unfinished int   `json:"unfinished"` // read and not yet committable

	asked int64 // the end of the partition when the broker was last asked
}

// Status may be called by any goroutine. It asks no broker: the lag is as of
// the last fetch, or some seconds old while nothing is fetched.
func (c *Consumer) Status() Status {
	s := c.window.status()
	s.Counts.CommitErrors = c.commitErrors.Load()
	if !c.using.TryRLock() {
		return s // closing
	}
	defer c.using.RUnlock()
	if c.gone {
		return s
	}
	for i := range s.Partitions {
		p := &s.Partitions[i]
		low, high, err := c.kafka.Load().GetWatermarkOffsets(c.cfg.Topic, p.Partition)
		if err == nil && low >= 0 && high >= 0 {
			p.Lag = max(0, max(high, p.asked)-max(p.Next, low))
		}
	}
	return s
}

func (w *window) status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := Status{
		State:      w.state,
		Since:      w.since,
		InFlight:   w.handled,
		Waiting:    w.waiting.Len(),
		Counts:     w.counts,
		Partitions: make([]PartitionStatus, 0, len(w.partitions)),
	}
	if w.lastErr != nil {
		at := w.lastErrAt
		s.LastError, s.LastFailed = w.lastErr.Error(), &at
	}
	oldest := int64(math.MaxInt64)
	for id, p := range w.partitions {
		oldest = min(oldest, p.oldest())
		s.Partitions = append(s.Partitions, PartitionStatus{Partition: id, Next: p.next, Lag: -1, Unfinished: len(p.slots), asked: p.high})
	}
	if oldest != math.MaxInt64 {
		s.Oldest = new(time.UnixMilli(oldest))
	}
	slices.SortFunc(s.Partitions, func(a, b PartitionStatus) int { return int(a.Partition - b.Partition) })
	return s
}
