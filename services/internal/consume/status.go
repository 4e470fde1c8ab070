package consume

import (
	"slices"
	"time"
)

// Status is what a consumer is doing at one moment.
type Status struct {
	State      State             `json:"state"`
	Since      time.Time         `json:"since"`
	InFlight   int               `json:"in_flight"`
	Waiting    int               `json:"waiting"` // read and not in flight
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
}

// Status may be called by any goroutine. It asks no broker: the lag is as of
// the last fetch.
func (c *Consumer) Status() Status {
	s := c.window.status()
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
		if p.Lag = -1; err == nil && low >= 0 && high >= 0 {
			p.Lag = max(0, high-max(p.Next, low))
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
		InFlight:   w.inFlight,
		Waiting:    w.waiting.Len(),
		Counts:     w.counts,
		Partitions: make([]PartitionStatus, 0, len(w.partitions)),
	}
	if w.lastErr != nil {
		at := w.lastErrAt
		s.LastError, s.LastFailed = w.lastErr.Error(), &at
	}
	for id, p := range w.partitions {
		s.Partitions = append(s.Partitions, PartitionStatus{Partition: id, Next: p.next, Unfinished: len(p.slots)})
	}
	slices.SortFunc(s.Partitions, func(a, b PartitionStatus) int { return int(a.Partition - b.Partition) })
	return s
}
