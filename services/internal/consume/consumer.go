package consume

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"fault-tolerant-tracing/services/internal/dispatch"
	"fault-tolerant-tracing/tracing/kafkaclient"
)

// Consumer is a member of a consumer group. Make it with [New] and run it once.
type Consumer struct {
	cfg   Config
	log   *slog.Logger
	work  *dispatch.Dispatcher
	kafka atomic.Pointer[kafka.Consumer] // replaced after an error that is fatal to it

	joined       atomic.Bool
	commitErrors atomic.Uint64
	lost         atomic.Bool // what is finished and not committed may be lost
	readAgain    atomic.Uint64
	troubles     troubles
	reader       reader
	away         atomic.Bool // no broker was there or let the client in, and none has answered since
	tails        tails
	anew         atomic.Bool            // the topic is another one than before
	topicID      atomic.Pointer[string] // of the topic that the client reads; nil: it reads none yet

	// These belong to the poll loop.
	born       time.Time // when the client subscribed
	login      *kafkaclient.Credentials
	paused     bool
	reassigned bool
	unknown    []kafka.TopicPartition // ours, and not given to the client: where to begin is not known yet
	fullSince  time.Time              // zero: there is room
	asked      time.Time              // when the ends of partitions, or where to begin in them, were last asked for
	checked    time.Time              // when the id of the topic was
	storedAt   time.Time              // when offsets were last handed to the client
	refused    string                 // what Kafka said of the last commit; "": it took it
	flushed    <-chan struct{}        // closed when what has moved may be committed; nil: nothing is being flushed

	// What is to be committed next: how far partitions have come, and which of them are of
	// a topic that was made anew.
	moved, back map[int32]int64

	using sync.RWMutex // held for reading while other goroutines than the poll loop use the client
	gone  bool         // the client is closed

	fatal     bool // set by Run
	closeOnce sync.Once
	closed    chan struct{}
	closeErr  error // valid after closed
}

// New makes a consumer. It does not talk to the broker yet. The topic should exist
// when [Consumer.Run] is called.
func New(cfg Config) (*Consumer, error) {
	c := &Consumer{cfg: cfg, log: cfg.Log.With("topic", cfg.Topic), moved: map[int32]int64{}, back: map[int32]int64{}, closed: make(chan struct{})}
	c.login = cfg.Cluster.Credentials(c.log)
	client, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	c.reader = reader{cfg: cfg}
	cfg.Dispatch.Fetch, cfg.Dispatch.Log = c.reader.fetch, c.log
	c.work = dispatch.New(cfg.Dispatch)
	c.kafka.Store(client)
	return c, nil
}

func newClient(cfg Config) (*kafka.Consumer, error) {
	settings := cfg.Cluster.MemberConfigMap(cfg.Group, cfg.InstanceID, cfg.SessionTimeout)
	for key, value := range map[string]kafka.ConfigValue{
		"auto.offset.reset":             "earliest",
		"enable.auto.offset.store":      false, // stored when finished, committed in the background
		"enable.auto.commit":            true,
		"auto.commit.interval.ms":       int(commitInterval.Milliseconds()),
		"partition.assignment.strategy": "cooperative-sticky",
		"enable.partition.eof":          true, // tells where a partition ends if no record lies there
		"fetch.message.max.bytes":       fetchBytes,
		"fetch.max.bytes":               fetchTotal,
		"fetch.error.backoff.ms":        100,
		"fetch.queue.backoff.ms":        5, // how soon the client sees that what it fetched has been read; the default is a second
		"queued.max.messages.kbytes":    fetchedBytes >> 10,
		"receive.message.max.bytes":     maxUnpacked,
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

// Run reads and handles records until ctx ends. It blocks. After a graceful stop, in
// which what is under way is finished, it returns nil; otherwise the error after which
// the consumer cannot go on. Close is still to be called.
func (c *Consumer) Run(ctx context.Context) error {
	defer c.reader.close()
	if err := c.subscribe(); err != nil {
		return err
	}
	working, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan struct{})
	go func() { defer close(ended); c.work.Run(working, c.cfg.StopTimeout) }()

	err := c.poll(working, ended)
	c.fatal = err != nil
	stop()
	<-ended
	c.storeAll()
	return err
}

func (c *Consumer) subscribe() error {
	c.born, c.checked = time.Now(), time.Now()
	if err := c.kafka.Load().Subscribe(c.cfg.Topic, c.rebalance); err != nil {
		return fmt.Errorf("subscribe to %s: %w", c.cfg.Topic, err)
	}
	return nil
}

// poll reads until the dispatcher has ended. It keeps polling while that finishes, so
// that the partitions stay ours until the offsets are stored.
func (c *Consumer) poll(ctx context.Context, ended <-chan struct{}) error {
	for {
		select {
		case <-ended:
			return nil
		default:
		}
		if !c.mayPoll() {
			c.store(ctx)
			continue
		}
		if err := c.inspect(ended); err != nil {
			return err
		}
		if c.lost.Swap(false) {
			if err := c.goBack(); err != nil {
				return err
			}
		}
		event := c.kafka.Load().Poll(int(pollTimeout.Milliseconds()))
		if time.Since(c.storedAt) > storeInterval {
			c.store(ctx)
		}
		switch e := event.(type) {
		case *kafka.Message:
			c.read(e.TopicPartition.Partition, int64(e.TopicPartition.Offset)+1)
			c.work.Add(e)
		case kafka.PartitionEOF:
			c.read(e.Partition, int64(e.Offset))
			c.work.Skip(e.Partition, int64(e.Offset))
		case kafka.OffsetsCommitted:
			c.committed(e.Error)
		case kafka.Error:
			if err := c.failed(e, ended); err != nil {
				return err
			}
		}
	}
}

// read notes that a partition was read up to an offset: the client works.
func (c *Consumer) read(partition int32, next int64) {
	c.tails.read(partition, next)
	c.troubles.over(whole)
	c.troubles.over(partition)
}

func (c *Consumer) committed(err error) {
	var ke kafka.Error
	switch {
	case err == nil:
		c.troubles.over(whole)
		if c.refused != "" {
			c.log.Info("offsets are committed again")
		}
		c.refused = ""
	case errors.As(err, &ke) && ke.Code() == kafka.ErrNoOffset: // there was nothing to commit
	default:
		c.commitErrors.Add(1)
		if err.Error() != c.refused {
			c.log.Warn("could not commit offsets, they go with the next commit", "err", err)
		}
		c.refused = err.Error()
	}
}

// failed takes in an error of the client, which tries again by itself unless the error
// is fatal to it.
func (c *Consumer) failed(e kafka.Error, ended <-chan struct{}) error {
	if kafkaclient.IsFatal(e) {
		// A static member whose session ran out, because the broker was away, may be
		// fenced off by itself: it joins anew while a commit still goes by its old name.
		// That takes longer than the session timeout; one that is fenced off sooner was so
		// by another process of the same name, and two of those would take turns for ever.
		// Any other fatal error is want of memory, of which the next process may have more.
		if !e.IsFatal() || time.Since(c.born) < c.cfg.SessionTimeout {
			return fmt.Errorf("consume %s: %w", c.cfg.Topic, e)
		}
		c.log.Warn("kafka will not have this member any more, joining anew", "err", e)
		return c.renew(ended)
	}
	level := slog.LevelError
	switch e.Code() {
	case kafka.ErrTransport, kafka.ErrResolve, kafka.ErrTimedOut, kafka.ErrMaxPollExceeded, kafka.ErrRebalanceInProgress,
		kafka.ErrNotCoordinator, kafka.ErrCoordinatorNotAvailable, kafka.ErrUnknownMemberID, kafka.ErrIllegalGeneration:
		c.log.Debug("consumer error, trying again", "group", c.cfg.Group, "err", e) // it passes
		return nil
	case kafka.ErrBadCompression, kafka.ErrMsgSizeTooLarge:
		c.troubles.unreadable(e) // of one partition, and again with each try: see findStalled
		return nil
	case kafka.ErrAllBrokersDown:
		c.away.Store(true)
		level = slog.LevelWarn
	case kafka.ErrAuthentication, kafka.ErrSaslAuthenticationFailed, kafka.ErrSsl:
		c.away.Store(true)
	}
	if c.troubles.note(whole, e) {
		c.log.Log(context.Background(), level, "consumer error, trying again", "group", c.cfg.Group, "err", e)
	}
	return nil
}

// renew replaces the client. What is still under way is left to whoever gets its
// partitions.
func (c *Consumer) renew(ended <-chan struct{}) error {
	c.joined.Store(false)
	c.forget(append(c.work.Assigned(), ids(c.unknown)...))
	select {
	case <-time.After(renewWait):
	case <-ended:
		return nil
	}
	c.login = c.cfg.Cluster.Credentials(c.log)
	client, err := newClient(c.cfg)
	if err != nil {
		return err
	}
	c.using.Lock()
	old := c.kafka.Swap(client)
	c.using.Unlock()
	go func() { _ = old.Close() }() // librdkafka may not end the close of a client that was fenced off
	c.paused, c.reassigned, c.flushed = false, false, nil
	c.topicID.Store(nil)
	c.anew.Store(false)
	return c.subscribe()
}

// mayPoll keeps what is held within its bounds. Without room polling waits for a while,
// and then reading is paused: a pause throws away what was fetched ahead.
func (c *Consumer) mayPoll() bool {
	full := c.work.Full()
	if !full {
		c.fullSince = time.Time{}
	}
	switch {
	case c.reassigned: // a partition that comes back is still paused if it was when it went
		c.setPaused(full)
	case c.paused:
		if c.work.Room() {
			c.setPaused(false)
		}
	case !full || c.work.AwaitRoom(storeInterval):
	case c.fullSince.IsZero():
		c.fullSince = time.Now()
		return false
	case time.Since(c.fullSince) < pauseAfter:
		return false
	default:
		c.setPaused(true)
	}
	return true
}

func (c *Consumer) setPaused(pause bool) {
	assigned, err := c.kafka.Load().Assignment()
	if err == nil {
		if pause {
			err = c.kafka.Load().Pause(assigned)
		} else {
			err = c.kafka.Load().Resume(assigned)
		}
	}
	if err != nil {
		c.log.Debug("could not pause or resume", "err", err)
		return
	}
	c.paused, c.reassigned = pause, false
}

// store has the offsets of finished prefixes committed, once what is finished is flushed. It
// does not block.
func (c *Consumer) store(ctx context.Context) {
	select {
	case <-c.flushed: // nil: nothing is being flushed
		c.handOut()
	default:
	}
	if c.flushed != nil || c.cfg.Flush != nil && time.Since(c.storedAt) < commitInterval {
		return
	}
	c.storedAt = time.Now()
	if !c.takeMoved() {
		return
	}
	if c.cfg.Flush == nil {
		c.handOut()
		return
	}
	flushed := make(chan struct{})
	c.flushed = flushed
	go func() {
		err := c.cfg.Flush(ctx)
		switch {
		case err == nil:
			close(flushed)
		case ctx.Err() == nil:
			c.log.Warn("what is finished may be lost, doing again what is not committed", "err", err)
			c.lost.Store(true)
		}
	}()
}

// storeAll is store for when partitions go. It blocks until all is flushed.
func (c *Consumer) storeAll() {
	c.flushed = nil
	if !c.takeMoved() {
		return
	}
	if c.cfg.Flush != nil {
		ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
		defer cancel()
		if err := c.cfg.Flush(ctx); err != nil {
			c.log.Warn("what is finished was not flushed in time, it will be done again", "err", err)
			return
		}
	}
	c.handOut()
}

// takeMoved adds to what is to be committed, and reports whether there is anything.
func (c *Consumer) takeMoved() bool {
	moved, back := c.work.Moved()
	maps.Copy(c.moved, moved)
	maps.Copy(c.back, back)
	return len(c.moved) > 0
}

// handOut hands offsets to the client, which commits them in the background. It commits
// none that is lower than before: those of a topic that was made anew are committed here,
// the client having been told first, lest it commit the last one of the old topic behind
// that.
func (c *Consumer) handOut() {
	moved, back := c.offsets(c.moved), c.offsets(c.back)
	clear(c.moved)
	clear(c.back)
	c.flushed = nil
	if _, err := c.kafka.Load().StoreOffsets(moved); err != nil {
		c.log.Debug("could not store offsets of a partition that is not ours any more", "err", err)
	}
	if len(back) > 0 {
		c.log.Warn("the offsets of the topic have started again")
		go c.use(func(client *kafka.Consumer) {
			if _, err := client.CommitOffsets(back); err != nil {
				c.log.Warn("could not commit offsets", "err", err)
			}
		})
	}
}

// offsets is a list for a commit, which carries the id of the topic: see begin.
func (c *Consumer) offsets(next map[int32]int64) []kafka.TopicPartition {
	list := make([]kafka.TopicPartition, 0, len(next))
	for id, offset := range next {
		list = append(list, kafka.TopicPartition{
			Topic: &c.cfg.Topic, Partition: id, Offset: kafka.Offset(offset), Metadata: c.topicID.Load(),
		})
	}
	return list
}

// use calls f unless the client is closed, and keeps it from being closed meanwhile.
func (c *Consumer) use(f func(*kafka.Consumer)) {
	c.using.RLock()
	defer c.using.RUnlock()
	if !c.gone {
		f(c.kafka.Load())
	}
}

// Close commits what is finished, leaves the group and releases the client. It is to
// be called after Run has returned or instead of it. While the broker is away the
// client takes up to the session timeout to give up; Close waits for it until ctx
// ends. Nothing is lost then, only done again. Further calls wait for the same end.
// After an error of the poll loop it does nothing: a client that has failed for good may
// never end, and the process has to.
func (c *Consumer) Close(ctx context.Context) error {
	if c.fatal {
		return nil
	}
	c.closeOnce.Do(func() {
		go func() {
			defer close(c.closed)
			c.using.Lock()
			defer c.using.Unlock()
			c.gone = true
			c.closeErr = c.kafka.Load().Close()
		}()
	})
	select {
	case <-c.closed:
	case <-ctx.Done():
		c.log.Warn("kafka did not take the last commit in time, what it covers will be done again")
		return nil
	}
	if c.closeErr != nil {
		return fmt.Errorf("close the consumer of %s: %w", c.cfg.Topic, c.closeErr)
	}
	return nil
}

// Ready returns nil while the consumer is a member of its group, and says otherwise
// what it waits for. It does not block.
func (c *Consumer) Ready() error {
	if !c.joined.Load() {
		return fmt.Errorf("not a member of consumer group %s", c.cfg.Group)
	}
	if f := c.troubles.get(whole); f != nil && time.Since(f.Since) > c.cfg.SessionTimeout {
		return fmt.Errorf("no longer a member of consumer group %s: %s", c.cfg.Group, f.Error)
	}
	return nil
}
