package replay

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"fault-tolerant-tracing/services/internal/collector"
)

const (
	// inFlight is how many posts may be unfinished, those that are to be tried
	// again included: 64 of up to 1 MiB.
	inFlight = 64

	maxListed = 100 // refusals that are kept, to be told one by one

	// hopeless is after how many refusals, nothing being taken, the run ends: not
	// the records are wrong then.
	hopeless = 100
)

// Result is what became of the records. Spans are those of the records, or of
// the parts of them, that were wanted.
type Result struct {
	Records, Spans int64     // that Jaeger has taken, entirely or in part
	Refused        int64     // records that Jaeger refused for good, entirely or in part
	Refusals       []Refusal // the first 100 of them
}

// Refusal is one record that Jaeger refused.
type Refusal struct {
	Partition int32
	Offset    int64
	Spans     int // how many of its spans; 0: it is no batch
	Reason    error
}

// Run sends what filter wants of source. Small records of the same process travel
// together in one post; when Jaeger refuses that, each on its own. Records are
// sent in any order, and at least once. done is told how many records are
// finished, those that were not wanted too; it must not block. Run blocks until
// everything is taken or refused for good, or until ctx ends; then and after any
// other error the result says what was sent until then.
func Run(ctx context.Context, source Source, filter Filter, sender *Sender, done func(records int64)) (Result, error) {
	posts, inner := errgroup.WithContext(ctx)
	posts.SetLimit(inFlight)
	r := &run{sender: sender, posts: posts, done: done}
	waiting := bundler{waiting: map[string]*bundle{}}
	err := source.Read(inner, func(record Record) error {
		wanted, ok := filter.apply(record)
		if !ok {
			done(1)
			return inner.Err()
		}
		r.start(inner, waiting.add(wanted))
		return inner.Err()
	})
	if err == nil {
		r.start(inner, waiting.rest())
		sender.Alone()
	}
	// The first error of a post is why reading failed, too.
	if failed := posts.Wait(); failed != nil {
		err = failed
	}
	return r.result, err
}

// run is one call of Run.
type run struct {
	sender *Sender
	posts  *errgroup.Group
	done   func(int64)

	mu     sync.Mutex
	result Result
}

// start sends bundles in the background. It blocks while too many are unfinished.
func (r *run) start(ctx context.Context, bundles []*bundle) {
	for _, b := range bundles {
		r.posts.Go(func() error { return r.send(ctx, b) })
	}
}

func (r *run) send(ctx context.Context, b *bundle) error {
	if value, ok := b.merged(); ok {
		err := r.sender.post(ctx, value, 1)
		if err == nil {
			r.taken(b)
			return nil
		}
		var refusal *collector.Refusal
		if !errors.As(err, &refusal) {
			return err
		}
	}
	for _, i := range b.items {
		refused, err := r.sender.Send(ctx, i.value)
		if err != nil {
			return err
		}
		if err := r.finish(i, refused); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) taken(b *bundle) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Records += int64(len(b.items))
	r.result.Spans += int64(b.spans)
	r.done(int64(len(b.items)))
}

// finish notes what became of a record that was sent on its own.
func (r *run) finish(i item, refused []Refused) error {
	spans := 0
	for _, part := range refused {
		spans += part.Spans
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done(1)
	if len(refused) == 0 || spans < i.frame.Spans() {
		r.result.Records++
		r.result.Spans += int64(i.frame.Spans() - spans)
	}
	if len(refused) == 0 {
		return nil
	}
	reason := refused[0].Reason
	if len(r.result.Refusals) < maxListed {
		r.result.Refusals = append(r.result.Refusals, Refusal{i.record.Partition, i.record.Offset, spans, reason})
	}
	if r.result.Refused++; r.result.Refused >= hopeless && r.result.Records == 0 {
		return fmt.Errorf("jaeger at %s refused the first %d records and took none: %w", r.sender.URL(), hopeless, reason)
	}
	return nil
}
