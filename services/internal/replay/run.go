package replay

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"fault-tolerant-tracing/services/internal/deliver"
	"fault-tolerant-tracing/services/internal/dispatch"
)

const (
	maxListed = 100 // refusals that are kept, to be told one by one

	// grace is how long a run that is stopped waits for the posts that are under way.
	grace = time.Second

	lookEvery   = 100 * time.Millisecond // how often a run looks how far it has come
	reportEvery = 500                    // records, after which Through is told

	// maxStall is how long a run waits for room in memory before it decides on what
	// takes up the room, as at the end.
	maxStall = 10 * time.Second
)

// Meter shows how far a run has come. It is implemented by meter.Meter.
type Meter interface {
	Add(records int64)    // so many more are finished
	Waiting(reason error) // something is tried again
}

// Config says what a run sends and where to.
type Config struct {
	Endpoint deliver.Endpoint
	Alone    bool // each record is sent by itself: it was refused before, and is likely to be again
	Filter   Filter
	Meter    Meter

	// Read is that of the endpoint, or does more.
	Read func(*dispatch.Record) error
	// SetAside, if there is one, keeps a part of a record that can never be delivered;
	// an error ends the run. Without it such parts are only listed, and the run ends if
	// Jaeger refuses everything.
	SetAside func(ctx context.Context, p dispatch.Part, reason error) error
	// Through, if there is one, is told now and then, and at the end, before which offset
	// all records of a partition are finished. It may block; an error ends the run.
	Through func(before map[int32]int64) error
}

// Result is what became of the records. Spans are those of the records, or of
// the parts of them, that were wanted.
type Result struct {
	Records, Spans int64     // that Jaeger has taken, entirely or in part
	Refused        int64     // records that can never be delivered, entirely or in part
	Refusals       []Refusal // the first 100 of them
}

// Refusal is one record that can never be delivered.
type Refusal struct {
	Partition int32
	Offset    int64
	Spans     int // how many of its spans; 0: it holds none
	Reason    error
}

// errFinished is why a run ends that has finished.
var errFinished = errors.New("finished")

// Run sends what is wanted of source, in any order and at least once. It blocks until
// each record is taken or refused for good, until ctx ends, or until it is plain that
// no Jaeger takes anything at the address. After an error, too, the result says what
// was sent.
func Run(ctx context.Context, source Source, cfg Config) (Result, error) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	r := &run{
		cfg: cfg, end: end, refused: map[*dispatch.Record]*Refusal{},
		endpoint: endpoint{url: cfg.Endpoint.URL(), picky: cfg.SetAside == nil, refused: map[position]bool{}},
	}
	work := cfg.Endpoint.Bounds()
	if cfg.Alone {
		work.MaxRecords = 1
	}
	work.Read, work.Handle, work.SetAside, work.Finished = cfg.Read, r.post, r.setAside, r.finished
	work.Log = slog.New(slog.DiscardHandler) // a command tells its errors itself
	r.work = dispatch.New(work)
	var parts sync.WaitGroup
	parts.Go(func() { r.work.Run(ctx, grace) })
	parts.Go(func() { r.watch(ctx) })
	r.endIf(r.read(ctx, source))
	parts.Wait()
	err := context.Cause(ctx)
	if errors.Is(err, errFinished) {
		err = nil
	}
	return r.result, errors.Join(err, r.report())
}

// run is one call of Run.
type run struct {
	cfg  Config
	work *dispatch.Dispatcher
	end  context.CancelCauseFunc

	mu         sync.Mutex
	exhausted  bool // all of the source is read
	stalled    bool // no more is read before something is finished
	endpoint   endpoint
	result     Result
	refused    map[*dispatch.Record]*Refusal // records that are refused, at least in part, and not finished
	unreported int                           // records that have finished since the last report
}

// endIf ends the run if there is a reason to.
func (r *run) endIf(reason error) {
	if reason != nil {
		r.end(reason)
	}
}

// read adds all that is wanted of the source.
func (r *run) read(ctx context.Context, source Source) error {
	assigned := map[int32]bool{}
	err := source.Read(ctx, func(record Record) error {
		if !assigned[record.Partition] {
			assigned[record.Partition] = true
			r.work.Assign([]int32{record.Partition})
		}
		r.add(ctx, record)
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.exhausted, r.stalled = true, true
	return nil
}

// add takes a record of the source. It blocks until there is room, or ctx ends.
func (r *run) add(ctx context.Context, record Record) {
	value, wanted := r.cfg.Filter.apply(record)
	if !wanted {
		r.cfg.Meter.Add(1)
		return
	}
	begin := time.Now()
	for full := r.work.Full(); full && ctx.Err() == nil; full = !r.work.AwaitRoom(lookEvery) {
		if time.Since(begin) > maxStall {
			r.mu.Lock()
			r.stalled = true
			r.mu.Unlock()
		}
	}
	r.work.Add(&kafka.Message{
		TopicPartition: kafka.TopicPartition{Partition: record.Partition, Offset: kafka.Offset(record.Offset)},
		Timestamp:      record.Time, Key: record.Key, Value: value, Headers: record.Headers,
	})
}

// watch looks now and then how far the run has come, and ends it when everything is
// finished.
func (r *run) watch(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		r.mu.Lock()
		exhausted, decide, due := r.exhausted, r.stalled && r.endpoint.judges, r.unreported >= reportEvery
		r.mu.Unlock()
		if decide {
			r.work.End()
		}
		if due {
			r.endIf(r.report())
		}
		if exhausted && r.work.Idle() {
			r.end(errFinished)
		}
	}
}

// report tells how far the partitions are through.
func (r *run) report() error {
	if r.cfg.Through == nil {
		return nil
	}
	r.mu.Lock()
	r.unreported = 0
	r.mu.Unlock()
	moved, _ := r.work.Moved()
	return r.cfg.Through(moved)
}

// post implements Handle of [dispatch.Config].
func (r *run) post(ctx context.Context, parts []dispatch.Part) error {
	body, _, err := r.cfg.Endpoint.Body(parts)
	if err != nil {
		r.mu.Lock()
		r.endpoint.judges = true
		r.mu.Unlock()
		r.cfg.Meter.Waiting(err)
		return err
	}
	defer r.cfg.Endpoint.Free(body)
	began := time.Now()
	err = r.cfg.Endpoint.Post(ctx, body)
	if ctx.Err() != nil && !deliver.Taken(err) {
		return err // cut off: that says nothing of Jaeger
	}
	r.mu.Lock()
	useless := r.endpoint.ended(began, parts, err)
	r.mu.Unlock()
	r.endIf(useless)
	if !deliver.Taken(err) {
		r.cfg.Meter.Waiting(r.endpoint.explain(err))
	}
	return deliver.Verdict(err)
}

// setAside implements SetAside of [dispatch.Config].
func (r *run) setAside(ctx context.Context, p dispatch.Part, reason error) error {
	if r.cfg.SetAside != nil {
		if err := r.cfg.SetAside(ctx, p, reason); err != nil {
			r.end(err)
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	refusal := r.refused[p.Record]
	if refusal == nil {
		refusal = &Refusal{Partition: p.TopicPartition.Partition, Offset: int64(p.TopicPartition.Offset), Reason: reason}
		r.refused[p.Record] = refusal
	}
	refusal.Spans += min(p.To, p.Pieces) - p.From
	if !dispatch.IsPermanent(reason) {
		r.endIf(r.endpoint.refuses(p.Record, reason))
	}
	return nil
}

// finished implements Finished of [dispatch.Config].
func (r *run) finished(record *dispatch.Record, err error) {
	if errors.Is(err, dispatch.ErrForgotten) {
		return // the run has ended before
	}
	r.cfg.Meter.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unreported++
	taken := record.Pieces
	if refusal := r.refused[record]; refusal != nil {
		delete(r.refused, record)
		taken -= refusal.Spans
		if r.result.Refused++; len(r.result.Refusals) < maxListed {
			r.result.Refusals = append(r.result.Refusals, *refusal)
		}
	}
	if err == nil || taken > 0 {
		r.result.Records++
		r.result.Spans += int64(taken)
	}
}
