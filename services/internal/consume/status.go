package consume

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"fault-tolerant-tracing/services/internal/dispatch"
)

// Status is what a consumer is doing at one moment.
type Status struct {
	dispatch.Status
	CommitErrors uint64             `json:"commit_errors"` // commits that Kafka refused; they go with the next one
	ReadAgain    uint64             `json:"read_again"`    // how often what was finished had to be done again
	Errors       []dispatch.Failure `json:"errors"`        // of the client, that last
}

// Status may be called by any goroutine. It asks no broker: the lag is as of the last
// fetch, or some seconds old while nothing is fetched.
func (c *Consumer) Status() Status {
	s := Status{Status: c.work.Status(), CommitErrors: c.commitErrors.Load(), ReadAgain: c.readAgain.Load(), Errors: c.troubles.all()}
	for _, what := range []int32{whole, membership} {
		if f := c.troubles.get(what); f != nil && s.State == dispatch.Delivering {
			s.State, s.Since = dispatch.Holding, f.Since
		}
	}
	if !c.using.TryRLock() {
		return s // closing
	}
	defer c.using.RUnlock()
	if c.gone {
		return s
	}
	for i := range s.Partitions {
		p := &s.Partitions[i]
		if low, high, err := c.kafka.Load().GetWatermarkOffsets(c.cfg.Topic, p.Partition); err == nil && low >= 0 && high >= 0 {
			p.Lag = max(0, max(high, c.tails.end(p.Partition))-max(p.Next, low))
		}
	}
	return s
}

// What stands among the partitions for all of the topic, or the client; and for its place
// in the group.
const (
	whole      int32 = -1
	membership int32 = -2
)

// troubles are the errors that last, by partition. All methods are safe for several
// goroutines.
type troubles struct {
	mu   sync.Mutex
	last map[int32]dispatch.Failure
	data error // what the client could not read last; it does not say in which partition
}

// note enters an error, and reports whether it is news.
func (t *troubles) note(what int32, err error) (news bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before, known := t.last[what]
	if known && before.Error == err.Error() {
		return false
	}
	if t.last == nil {
		t.last = make(map[int32]dispatch.Failure)
	}
	if !known {
		before.Since = time.Now()
	}
	before.Error = err.Error()
	t.last[what] = before
	return true
}

func (t *troubles) over(what int32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.last, what)
}

func (t *troubles) get(what int32) *dispatch.Failure {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f, ok := t.last[what]; ok {
		return &f
	}
	return nil
}

// unreadable enters that the client could not read something it had fetched.
func (t *troubles) unreadable(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = err
}

// cause adds to an error what the client could not read last.
func (t *troubles) cause(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.data == nil {
		return err
	}
	return fmt.Errorf("%w; the client said: %w", err, t.data)
}

func (t *troubles) all() []dispatch.Failure {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := []dispatch.Failure{}
	for _, f := range t.last {
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b dispatch.Failure) int { return a.Since.Compare(b.Since) })
	return list
}
