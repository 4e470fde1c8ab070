// Package outbox keeps records with spans in memory, in order, until Kafka has
// acknowledged them, and sends them again for as long as that takes: while the
// brokers are away, while the topic is missing, after the producer failed for good.
// A record that the topic does not admit is halved until it does. When the buffer
// is full, the newest record is not taken.
//
// With a spool, records that have waited for a second, and all behind them, go from
// memory to a file: they outlive the process, and memory is free for others. The
// next process sends them. Those that a killed one had sent last may come twice.
//
// What a record holds is its callers' business: they make it, number it, and count
// what was not taken, in a Tally.
package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"fault-tolerant-tracing/tracing/kafkaclient"

	"github.com/cenkalti/backoff/v5"
	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// Defaults of Config.
const (
	DefaultTopic       = "tracing-topic"
	DefaultBufferBytes = 32 << 20
	DefaultSpoolBytes  = 256 << 20
)

// MaxRecordBytes is the largest value of a record: a broker takes 1 048 588 by
// default, librdkafka 1 000 000; the rest is for key, headers and framing.
const MaxRecordBytes = 900_000

const (
	firstWait   = 100 * time.Millisecond // before sending again what Kafka did not take
	longestWait = 5 * time.Second

	// lingerMillis is how long librdkafka waits for more records to share a request
	// with. There is seldom more than one, as a flush makes one record; a process
	// that writes many makes them faster than this.
	lingerMillis = 5

	spoolAfter = time.Second            // how long the oldest record may wait before all go to the spool
	spoolEvery = 100 * time.Millisecond // how often they are looked after
	spoolRetry = time.Second            // the same, while the spool takes nothing
)

// Config configures an Outbox. Kafka.Brokers is required; every other zero value
// means its default.
type Config struct {
	Kafka       kafkaclient.Cluster
	Topic       string       // default DefaultTopic
	BufferBytes int          // default DefaultBufferBytes; at least MaxRecordBytes
	SpoolDir    string       // default none; processes may share it if they write to one cluster
	SpoolBytes  int          // of each process; default DefaultSpoolBytes; at least 16 MiB
	Logger      *slog.Logger // default slog.Default()
}

// Split makes two values of one: with its first n spans, and with the others. Both
// say of the rest what the whole one says.
type Split func(value []byte, n int) (first, second []byte, err error)

// producer is what an outbox needs of *kafkaclient.Producer.
type producer interface {
	Produce(*kafka.Message, func(kafka.TopicPartition, error)) error
	Close(context.Context) error
}

// Outbox hands its records to the producer, in one goroutine. After a delivery
// error it waits until nothing is in flight any more, and then sends everything not
// yet acknowledged again, oldest first, so that the order holds.
type Outbox struct {
	Tally *Tally // of the records that could not be kept; its callers count in it as well
	*queue
	producer producer
	topic    string
	spools   []*spool // what is written goes to the first, the others are of dead processes; empty: memory only

	hurry   chan struct{} // closed when shutdown begins
	stop    context.CancelFunc
	running sync.WaitGroup
}

// New makes an outbox and returns at once, whether or not Kafka can be reached.
// format names what split can split; a spool is of one format. extra are further
// settings of the producer.
func New(cfg Config, format string, split Split, extra kafka.ConfigMap) (*Outbox, error) {
	if cfg.Topic == "" {
		cfg.Topic = DefaultTopic
	}
	if cfg.BufferBytes == 0 {
		cfg.BufferBytes = DefaultBufferBytes
	}
	if cfg.BufferBytes < MaxRecordBytes {
		return nil, fmt.Errorf("a buffer of %d bytes does not hold one record of %d", cfg.BufferBytes, MaxRecordBytes)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.SpoolBytes == 0 {
		cfg.SpoolBytes = DefaultSpoolBytes
	}
	settings := kafka.ConfigMap{"linger.ms": lingerMillis}
	maps.Copy(settings, extra)
	p, err := kafkaclient.NewProducer(cfg.Kafka, cfg.Logger, settings)
	if err != nil {
		return nil, err
	}
	o, err := start(p, cfg, format, split)
	if err != nil {
		_ = p.Close(context.Background()) // it has nothing to send
	}
	return o, err
}

func start(p producer, cfg Config, format string, split Split) (*Outbox, error) {
	ctx, stop := context.WithCancel(context.Background())
	tally := NewTally(cfg.Logger)
	o := &Outbox{
		Tally: tally,
		queue: &queue{
			limit: cfg.BufferBytes, split: split, log: cfg.Logger.With("topic", cfg.Topic), tally: tally, wake: make(chan struct{}, 1),
		},
		producer: p, topic: cfg.Topic,
		hurry: make(chan struct{}), stop: stop,
	}
	if cfg.SpoolDir != "" {
		dir := filepath.Join(cfg.SpoolDir, url.PathEscape(cfg.Topic)+"."+format)
		var err error
		if o.spools, o.records, err = openSpools(dir, cfg.SpoolBytes, o.log); err != nil {
			stop()
			return nil, err
		}
		if left := o.Left(); left > 0 {
			o.log.Info("sending spans from the spool", "spans", left, "records", len(o.records), "dir", dir)
		}
		o.running.Go(func() { o.keep(ctx) })
	}
	o.running.Go(func() { o.run(ctx) })
	return o, nil
}

func (o *Outbox) run(ctx context.Context) {
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval, waits.MaxInterval = firstWait, longestWait
	for ctx.Err() == nil {
		r, failure := o.take()
		switch {
		case r != nil:
			o.produce(r)
		case failure != nil:
			o.hold(ctx, failure, waits)
		default:
			select {
			case <-o.wake:
			case <-ctx.Done():
			}
		}
	}
}

func (o *Outbox) produce(r *Record) {
	c, err := o.content(r)
	if err == nil {
		err = o.producer.Produce(&kafka.Message{
			TopicPartition: kafka.TopicPartition{Topic: &o.topic, Partition: kafka.PartitionAny},
			Key:            c.Key,
			Value:          c.Value,
			Headers:        c.Headers,
		}, func(_ kafka.TopicPartition, err error) { o.settle(r, err) })
	}
	if err != nil {
		o.settle(r, err)
	}
}

// hold waits, only for a moment if there is not much time left, and then starts
// again with the oldest record.
func (o *Outbox) hold(ctx context.Context, failure error, waits *backoff.ExponentialBackOff) {
	if o.startFailing(failure) {
		waits.Reset()
	}
	select {
	case <-time.After(waits.NextBackOff()):
	case <-o.hurry:
		select {
		case <-time.After(firstWait):
		case <-ctx.Done():
		}
	}
	o.rewind()
}

// keep looks after the spools: it removes what is done, and brings there what is
// late.
func (o *Outbox) keep(ctx context.Context) {
	tick := time.NewTicker(spoolEvery)
	defer tick.Stop()
	for failing := false; ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		err := o.trim()
		if o.late() {
			err = errors.Join(err, o.spill())
		}
		switch {
		case err != nil && !failing:
			o.log.Error("the spool does not take spans, they stay in memory", "err", err)
			tick.Reset(spoolRetry)
		case err == nil && failing:
			o.log.Info("the spool takes spans again")
			tick.Reset(spoolEvery)
		}
		failing = err != nil
	}
}

// spill brings all records to the spool.
func (o *Outbox) spill() error {
	for {
		records, contents := o.unspooled()
		if len(records) == 0 {
			return nil
		}
		s, level := o.spools[0], slog.LevelDebug
		if s.first == s.end { // nothing was there
			level = slog.LevelInfo
		}
		first, err := s.append(contents)
		if err != nil {
			return err
		}
		spans := o.spooled(records, s, first)
		o.log.Log(context.Background(), level, "spans wait for kafka in the spool", "spans", spans)
	}
}

// trim removes from the spools what is done, and leaves those of dead processes that
// are empty.
func (o *Outbox) trim() (err error) {
	o.spools = slices.DeleteFunc(o.spools, func(s *spool) bool {
		err = errors.Join(err, s.trim(o.firstIn(s)))
		return s != o.spools[0] && s.first == s.end && s.close() == nil
	})
	return err
}

// Shutdown waits for the records to be acknowledged or for the end of ctx, brings
// what is left to the spool if there is one, stops and closes the producer, and ends
// the Tally's burst. If spans were left elsewhere, the error is a *LeftBehindError.
// It is called once; a record that is pushed later stays.
func (o *Outbox) Shutdown(ctx context.Context) error {
	close(o.hurry)
	_ = o.Flush(ctx) // what is left then goes to the spool, or is told
	o.stop()
	o.running.Wait()
	var spoolErr error
	if len(o.spools) > 0 {
		spoolErr = o.spill() // before the producer is closed, which may take time
	}
	err := o.producer.Close(ctx)
	o.Tally.Finish()
	spoolErr = errors.Join(spoolErr, o.trim())
	for _, s := range o.spools {
		spoolErr = errors.Join(spoolErr, s.close())
	}
	switch inMemory, spooled := o.waiting(); {
	case inMemory > 0:
		return &LeftBehindError{Spans: inMemory, Err: errors.Join(context.Cause(ctx), spoolErr)}
	case spooled > 0:
		o.log.Info("spans wait in the spool, to be sent at the next start", "spans", spooled)
		return spoolErr
	}
	return errors.Join(err, spoolErr)
}

// LeftBehindError says that there was no time to send all spans.
type LeftBehindError struct {
	Spans int   // not acknowledged; some of them may have arrived
	Err   error // why there was no more time
}

func (e *LeftBehindError) Error() string {
	return fmt.Sprintf("%d span(s) left behind: %v", e.Spans, e.Err)
}

// Unwrap returns Err.
func (e *LeftBehindError) Unwrap() error { return e.Err }
