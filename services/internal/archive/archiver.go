package archive

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/klauspost/compress/zstd"

	"fault-tolerant-tracing/services/internal/kafkaadmin"
	"fault-tolerant-tracing/tracing/kafkaclient"
)

const (
	segmentBytes = 16 << 20 // of records, not compressed: then a segment is closed
	openBytes    = 64 << 20 // of all open segments together: then the largest is closed

	pollTimeout    = 50 * time.Millisecond
	dueInterval    = 100 * time.Millisecond // between two looks for segments that are old enough
	confirmEvery   = time.Second
	patience       = time.Second     // for the storage, before reading is paused
	revokeTimeout  = 5 * time.Second // to write what is open of partitions that are taken away
	firstWait      = 100 * time.Millisecond
	maxWait        = 10 * time.Second // between two tries
	commitInterval = time.Second
	fetchBytes     = 2 << 20  // of a partition at a time; a larger record comes alone
	queuedBytes    = 16 << 20 // fetched in advance
)

// Config says what to archive, and where to.
type Config struct {
	Archive        *Archive
	Cluster        kafkaclient.Cluster
	Topic          string
	Group          string // consumer group that shares the partitions
	InstanceID     string // static membership; empty: none
	SessionTimeout time.Duration
	Every          time.Duration // how old the first record of an open segment may become
	Once           bool          // archive all partitions up to their ends as of the start, and then return
	StopTimeout    time.Duration // to write what is open when told to stop
	Log            *slog.Logger
}

// Archiver writes a topic to an archive. Make it with [New] and run it once.
//
// Everything but the talk with the storage happens in one goroutine, that of Run.
type Archiver struct {
	cfg   Config
	log   *slog.Logger
	admin *kafkaadmin.Admin
	zstd  *zstd.Encoder

	client   *kafka.Consumer
	renew    bool                 // the TLS files that it was made with have changed
	topicID  string               // of the topic that the partitions are read from
	assigned []int32              // what the group gives us
	changes  int                  // of what it gives us
	placed   bool                 // partitions are those assigned, and being read
	parts    map[int32]*partition // of topicID
	ends     map[int32]int64      // for Once
	open     int                  // bytes in all open segments
	full     bool                 // one of them must be closed
	fatal    *kafka.Error         // of the client
	told     string               // the last error of the client that was logged
	looked   time.Time            // for segments that are due
	checked  time.Time            // that the topic is still the same
}

// partition is one that is being read.
type partition struct {
	next      int64    // the offset to come
	open      *builder // nil: nothing read since the last segment
	confirmed int64    // up to here, its records are known to be those of topicID
}

// New makes an archiver. It does not talk to the cluster yet.
func New(cfg Config) (*Archiver, error) {
	admin, err := kafkaadmin.New(cfg.Cluster)
	if err != nil {
		return nil, err
	}
	return &Archiver{cfg: cfg, log: cfg.Log, admin: admin, zstd: newEncoder()}, nil
}

// Run archives until ctx ends, or, with Once, until it is done. It blocks, waits
// for Kafka and for the storage as long as it takes, and then writes what is
// open. It returns an error if the topic is not there at the start, and if it
// cannot go on; with Once also that of ctx, if that ends first. Run releases the archiver's clients.
func (a *Archiver) Run(ctx context.Context) error {
	defer a.admin.Close()
	defer a.zstd.Close()
	descriptions, err := a.admin.Await(ctx, a.log, a.cfg.Topic)
	if err != nil {
		return err
	}
	switch e := descriptions[0].Error; e.Code() {
	case kafka.ErrNoError:
	case kafka.ErrUnknownTopicOrPart:
		return fmt.Errorf("there is no topic %s on %s", a.cfg.Topic, strings.Join(a.cfg.Cluster.Brokers, ","))
	default:
		return fmt.Errorf("topic %s: %w", a.cfg.Topic, e)
	}
	for {
		began := time.Now()
		err := a.session(ctx)
		if a.renew && err == nil && ctx.Err() == nil {
			a.log.Info("TLS files have changed, joining anew", "topic", a.cfg.Topic)
			continue
		}
		// As in package consume: a member that was fenced off sooner than its session
		// runs out was so by another process of the same name, and one that lacks memory has to end.
		if a.fatal == nil || !a.fatal.IsFatal() || time.Since(began) < a.cfg.SessionTimeout {
			return err
		}
		a.log.Warn("kafka will not have this member any more, joining anew", "topic", a.cfg.Topic, "err", a.fatal)
	}
}

// session archives with one Kafka client.
func (a *Archiver) session(ctx context.Context) error {
	var err error
	credentials := a.cfg.Cluster.Credentials(a.log)
	if a.client, err = newClient(a.cfg); err != nil {
		return err
	}
	a.assigned, a.placed, a.parts, a.open, a.fatal, a.renew = nil, true, nil, 0, nil, false
	var over atomic.Bool
	defer a.closeClient(&over)
	if a.cfg.Once {
		err = a.takeAll(ctx)
	} else {
		err = a.client.Subscribe(a.cfg.Topic, func(client *kafka.Consumer, event kafka.Event) error {
			if over.Load() {
				return nil
			}
			return a.rebalance(client, event)
		})
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", a.cfg.Topic, err)
	}
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(a.cfg.StopTimeout, stop) })()

	for ctx.Err() == nil && a.fatal == nil && !a.renew && !a.done() {
		a.renew = credentials.Refresh(a.client)
		if err := a.step(ctx, work); err != nil && ctx.Err() == nil {
			return err
		}
	}
	if a.fatal != nil {
		return fmt.Errorf("read %s: %w", a.cfg.Topic, a.fatal)
	}
	switch err := a.writeOpen(work); {
	case err != nil && (work.Err() == nil || a.cfg.Once):
		return err
	case a.cfg.Once && !a.done():
		return ctx.Err()
	}
	return nil
}

// step does what is to be done next. work ends some time after ctx does.
func (a *Archiver) step(ctx, work context.Context) error {
	if !a.placed {
		if err := a.writeOpen(work); err != nil { // or it would be read again
			return err
		}
		if err := a.place(ctx); err != nil {
			return err
		}
	}
	a.take(a.client.Poll(int(pollTimeout.Milliseconds())))
	return a.writeDue(work)
}

func newClient(cfg Config) (*kafka.Consumer, error) {
	settings := cfg.Cluster.MemberConfigMap(cfg.Group, cfg.InstanceID, cfg.SessionTimeout)
	for key, value := range map[string]kafka.ConfigValue{
		"auto.offset.reset":             "error", // where to go on is for the archive to say
		"enable.auto.offset.store":      false,   // stored when a segment is visible, committed in the background
		"enable.auto.commit":            true,
		"auto.commit.interval.ms":       int(commitInterval.Milliseconds()),
		"enable.partition.eof":          true,
		"partition.assignment.strategy": "range", // not cooperative: after each rebalance the archive is asked anew
		"fetch.message.max.bytes":       fetchBytes,
		"fetch.error.backoff.ms":        100,
		"queued.max.messages.kbytes":    queuedBytes >> 10,
	} {
		settings[key] = value
	}
	client, err := kafkaclient.NewConsumer(&settings)
	if err != nil {
		return nil, fmt.Errorf("make the consumer of %s: %w", cfg.Topic, err)
	}
	go kafkaclient.ForwardLogs(client.Logs(), cfg.Log)
	return client, nil
}

// closeClient leaves the group and releases the client. One that Kafka does not
// answer, or that has failed for good, may not end: it is left behind.
func (a *Archiver) closeClient(over *atomic.Bool) {
	over.Store(true)
	closed := make(chan struct{})
	client := a.client
	go func() {
		defer close(closed)
		_ = client.Close()
	}()
	select {
	case <-closed:
	case <-time.After(a.cfg.StopTimeout):
	}
}

// done tells whether Once has come to its ends.
func (a *Archiver) done() bool {
	if !a.cfg.Once || !a.placed {
		return false
	}
	for number, p := range a.parts {
		if p.next < a.ends[number] {
			return false
		}
	}
	return true
}
