package consume

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/opentracing/opentracing-go"

	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/kafkatrace"
)

const (
	pollTimeout    = 50 * time.Millisecond  // how soon the loop sees what the workers finished
	storeInterval  = 20 * time.Millisecond  // between two looks at what they finished
	pauseAfter     = 2 * time.Second        // of a window that is full
	commitInterval = 200 * time.Millisecond // so much may be repeated after a crash
	fetchAgain     = 5                      // milliseconds until the client looks whether what it fetched ahead has been read
	askTimeout     = 2 * time.Second
	askInterval    = 2 * time.Second // for the lag, while paused
	renewWait      = time.Second     // before a client that has failed for good is replaced
)

// Consumer is a member of a consumer group. Make it with [New] and run it once.
type Consumer struct {
	cfg    Config
	log    *slog.Logger
	window *window
	kafka  atomic.Pointer[kafka.Consumer] // replaced after an error that is fatal to it

	commitErrors atomic.Uint64

	joined     atomic.Bool
	born       time.Time // when the client was made; this and the next belong to the poll loop
	paused     bool
	reassigned bool
	fullSince  time.Time // zero: it is not
	asked      time.Time // when the ends of the partitions were last asked for
	storedAt   time.Time // when offsets were last handed to the client
	told       string    // the last error that a person must look at

	using sync.RWMutex // held for reading while other goroutines than the poll loop use the client
	gone  bool         // the client is closed

	fatal     bool // set by Run
	closeOnce sync.Once
	closed    chan struct{}
	closeErr  error // valid after closed
}

// New makes a consumer. It does not talk to the broker yet. The topic should
// exist when [Consumer.Run] is called.
func New(cfg Config) (*Consumer, error) {
	client, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	c := &Consumer{cfg: cfg, log: cfg.Log, window: newWindow(cfg), closed: make(chan struct{})}
	c.kafka.Store(client)
	return c, nil
}

func newClient(cfg Config) (*kafka.Consumer, error) {
	settings := cfg.Cluster.ConfigMap()
	for key, value := range map[string]kafka.ConfigValue{
		"group.id":                      cfg.Group,
		"auto.offset.reset":             "earliest",
		"enable.auto.offset.store":      false, // stored when finished, committed in the background
		"enable.auto.commit":            true,
		"auto.commit.interval.ms":       int(commitInterval.Milliseconds()),
		"session.timeout.ms":            int(cfg.SessionTimeout.Milliseconds()),
		"heartbeat.interval.ms":         int(cfg.SessionTimeout.Milliseconds() / 4),
		"partition.assignment.strategy": "cooperative-sticky",
		"fetch.message.max.bytes":       fetchBytes,
		"fetch.error.backoff.ms":        100,
		"fetch.queue.backoff.ms":        fetchAgain, // the default is a second
		"fetch.max.bytes":               fetchTotal,
		"queued.max.messages.kbytes":    fetchedBytes >> 10,
	} {
		settings[key] = value
	}
	if cfg.InstanceID != "" {
		settings["group.instance.id"] = cfg.InstanceID
	}
	client, err := kafka.NewConsumer(&settings)
	if err != nil {
		return nil, fmt.Errorf("make the consumer of %s: %w", cfg.Topic, err)
	}
	go kafkaclient.ForwardLogs(client.Logs(), cfg.Log)
	return client, nil
}

// Run reads and handles records until ctx ends. It blocks. After a graceful
// stop, in which what is in flight is finished, it returns nil; otherwise the
// error after which the consumer cannot go on. Close is still to be called.
func (c *Consumer) Run(ctx context.Context) error {
	defer c.window.stop()
	if err := c.subscribe(); err != nil {
		return err
	}
	taking, stopTaking := context.WithCancel(ctx)
	defer stopTaking()
	handling, stopHandling := context.WithCancel(context.WithoutCancel(ctx))
	defer stopHandling()

	var workers sync.WaitGroup
	for range c.cfg.InFlight {
		workers.Go(func() {
			for records := c.window.take(taking); records != nil; records = c.window.take(taking) {
				c.carry(handling, records)
			}
		})
	}
	idle := make(chan struct{})
	go func() { workers.Wait(); close(idle) }()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(c.cfg.StopTimeout, stopHandling) })
	defer stop()

	err := c.poll(idle)
	stopTaking()
	if err != nil {
		c.fatal = true
		stopHandling()
	}
	<-idle
	c.store()
	return err
}

func (c *Consumer) subscribe() error {
	c.born = time.Now()
	if err := c.kafka.Load().Subscribe(c.cfg.Topic, c.rebalance); err != nil {
		return fmt.Errorf("subscribe to %s: %w", c.cfg.Topic, err)
	}
	return nil
}

// poll reads until the workers are idle for good. It keeps polling while they
// finish, so that the partitions stay ours until the offsets are stored.
func (c *Consumer) poll(idle <-chan struct{}) error {
	for {
		select {
		case <-idle:
			return nil
		default:
		}
		if !c.mayPoll() {
			c.store()
			continue
		}
		if c.paused && time.Since(c.asked) > askInterval {
			c.asked = time.Now()
			assigned, _ := c.kafka.Load().Assignment() // if it fails the lag stays as it was
			go c.askEnds(assigned)
		}
		event := c.kafka.Load().Poll(int(pollTimeout.Milliseconds()))
		if time.Since(c.storedAt) > storeInterval {
			c.store()
		}
		switch e := event.(type) {
		case *kafka.Message:
			if e.TopicPartition.Error == nil {
				c.window.add(e)
			}
		case kafka.Error:
			if e.IsFatal() {
				if err := c.renew(idle, e); err != nil {
					return err
				}
				continue
			}
			c.tell(e)
		case kafka.OffsetsCommitted:
			if e.Error != nil && !nothingToCommit(e.Error) {
				c.commitErrors.Add(1)
				c.log.Warn("could not commit offsets, they go with the next commit", "topic", c.cfg.Topic, "err", e.Error)
			}
		}
	}
}

// renew replaces the client after an error that is fatal to it. A static member
// whose session ran out, because the broker was away, may be fenced off by
// itself: it joins anew while a commit still goes by its old name. That takes
// longer than the session timeout; one that is fenced off sooner was so by
// another process of the same name, and two of those would take turns for ever:
// then the error is returned.
func (c *Consumer) renew(idle <-chan struct{}, cause kafka.Error) error {
	if time.Since(c.born) < c.cfg.SessionTimeout {
		return fmt.Errorf("consume %s: %w", c.cfg.Topic, cause)
	}
	c.log.Warn("kafka will not have this member any more, joining anew", "topic", c.cfg.Topic, "err", cause)
	c.joined.Store(false)
	c.forget(c.window.assigned())
	select {
	case <-time.After(renewWait):
	case <-idle:
		return nil
	}
	client, err := newClient(c.cfg)
	if err != nil {
		return err
	}
	c.using.Lock()
	old := c.kafka.Swap(client)
	c.using.Unlock()
	go func() { _ = old.Close() }() // librdkafka may not end the close of a client that was fenced off
	c.paused, c.reassigned = false, false
	return c.subscribe()
}

// forget leaves the records of the partitions to whoever gets those.
func (c *Consumer) forget(partitions []int32) {
	for _, r := range c.window.forget(partitions) {
		finishSpan(r, errForgotten)
	}
}

// carry makes one try of the records and gives them back to the window.
func (c *Consumer) carry(ctx context.Context, records []*Record) {
	if len(records) == 1 {
		c.handle(ctx, records[0])
		return
	}
	err := c.cfg.Together.Handle(ctx, records)
	for _, r := range records {
		if !errors.Is(err, ErrApart) {
			if c.window.finish(r, err) {
				finishSpan(r, err)
			}
			continue
		}
		begun, revoked := c.window.alone(r)
		if begun {
			c.handle(ctx, r)
		} else if revoked {
			finishSpan(r, errForgotten)
		}
	}
}

// handle makes one try of a record and gives it back to the window.
func (c *Consumer) handle(ctx context.Context, r *Record) {
	if c.cfg.Tracer != nil {
		if r.span == nil {
			r.span = kafkatrace.StartConsumeSpan(c.cfg.Tracer, r.Message)
		}
		ctx = opentracing.ContextWithSpan(ctx, r.span)
	}
	err := r.reason
	if err == nil {
		err = c.cfg.Handle(ctx, r)
	}
	if IsPermanent(err) {
		r.reason = err
		if failed := c.setAside(ctx, r, err); failed != nil {
			// Other records may well be fine, and must not wait for this one.
			err = Suspect(fmt.Errorf("set aside (%v): %w", err, failed)) //nolint:errorlint // the reason must not decide any more
		} else {
			c.log.Warn("record set aside", "topic", c.cfg.Topic, "partition", r.TopicPartition.Partition,
				"offset", int64(r.TopicPartition.Offset), "err", err)
		}
	}
	if c.window.finish(r, err) {
		finishSpan(r, err)
	}
}

func (c *Consumer) setAside(ctx context.Context, r *Record, reason error) error {
	ctx, cancel := context.WithTimeout(ctx, setAsideTimeout)
	defer cancel()
	return c.cfg.SetAside(ctx, r, reason)
}

// tell logs an error of the client, which tries again by itself. What it cannot
// get over is told once at error.
func (c *Consumer) tell(e kafka.Error) {
	level := slog.LevelDebug
	switch e.Code() {
	case kafka.ErrTopicAuthorizationFailed, kafka.ErrGroupAuthorizationFailed, kafka.ErrClusterAuthorizationFailed,
		kafka.ErrAuthentication, kafka.ErrSaslAuthenticationFailed, kafka.ErrSsl, kafka.ErrInvalidSessionTimeout:
		if text := e.Error(); text != c.told {
			c.told, level = text, slog.LevelError
		}
	}
	c.log.Log(context.Background(), level, "consumer error, trying again", "topic", c.cfg.Topic, "group", c.cfg.Group, "err", e)
}

func finishSpan(r *Record, err error) {
	if r.span == nil {
		return
	}
	if err != nil && !errors.Is(err, ErrSkip) {
		kafkatrace.SetError(r.span, err)
	}
	r.span.Finish()
}

// store hands the offsets of finished prefixes to the client, which commits
// them in the background. It commits none that is lower than before: those of a
// topic that was made anew are committed here, the client having been told first,
// lest it commit the last one of the old topic behind that.
func (c *Consumer) store() {
	c.storedAt = time.Now()
	moved, back := c.window.finished()
	if len(moved) > 0 {
		if _, err := c.kafka.Load().StoreOffsets(c.offsets(moved)); err != nil {
			c.log.Debug("could not store offsets of a partition that is not ours any more", "topic", c.cfg.Topic, "err", err)
		}
	}
	if len(back) > 0 {
		c.log.Warn("the offsets of the topic have started again", "topic", c.cfg.Topic)
		go c.use(func(client *kafka.Consumer) {
			if _, err := client.CommitOffsets(c.offsets(back)); err != nil {
				c.log.Warn("could not commit offsets", "topic", c.cfg.Topic, "err", err)
			}
		})
	}
}

func (c *Consumer) offsets(next map[int32]int64) []kafka.TopicPartition {
	list := make([]kafka.TopicPartition, 0, len(next))
	for id, offset := range next {
		list = append(list, kafka.TopicPartition{Topic: &c.cfg.Topic, Partition: id, Offset: kafka.Offset(offset)})
	}
	return list
}

// use calls f unless the client is closed, and keeps it from being closed
// meanwhile.
func (c *Consumer) use(f func(*kafka.Consumer)) {
	c.using.RLock()
	defer c.using.RUnlock()
	if !c.gone {
		f(c.kafka.Load())
	}
}

// mayPoll keeps the window from growing beyond its bounds. While it is full, the
// next record is waited with for a while, and then reading is paused: a pause
// throws away what was fetched ahead.
func (c *Consumer) mayPoll() bool {
	full := c.window.full()
	if !full {
		c.fullSince = time.Time{}
	}
	switch {
	case c.reassigned: // a partition that comes back is still paused if it was when it went
		c.setPaused(full)
	case c.paused:
		if c.window.room() {
			c.setPaused(false)
		}
	case !full || c.window.awaitRoom(storeInterval):
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
		c.log.Debug("could not pause or resume", "topic", c.cfg.Topic, "err", err)
		return
	}
	c.paused, c.reassigned = pause, false
}

// rebalance runs in the poll loop. The client assigns and unassigns by itself
// when it returns.
func (c *Consumer) rebalance(client *kafka.Consumer, event kafka.Event) error {
	if client != c.kafka.Load() {
		return nil // one that was replaced and is being closed
	}
	switch e := event.(type) {
	case kafka.AssignedPartitions:
		c.log.Info("partitions assigned", "topic", c.cfg.Topic, "partitions", ids(e.Partitions))
		c.window.assign(ids(e.Partitions))
		c.reassigned = true
		c.joined.Store(true)
		go c.askBegin(e.Partitions)
	case kafka.RevokedPartitions:
		c.log.Info("partitions revoked", "topic", c.cfg.Topic, "partitions", ids(e.Partitions))
		c.store() // the client commits it before the partitions go
		c.forget(ids(e.Partitions))
	}
	return nil
}

func nothingToCommit(err error) bool {
	var ke kafka.Error
	return errors.As(err, &ke) && ke.Code() == kafka.ErrNoOffset
}

// askBegin asks where the group stands in the partitions, so that the status is
// right before their first record is read.
func (c *Consumer) askBegin(partitions []kafka.TopicPartition) {
	c.use(func(client *kafka.Consumer) {
		committed, err := client.Committed(partitions, int(askTimeout.Milliseconds()))
		if err != nil {
			c.log.Debug("could not ask for the committed offsets", "topic", c.cfg.Topic, "err", err)
			return
		}
		for _, p := range committed {
			if p.Offset >= 0 {
				c.window.begin(p.Partition, int64(p.Offset))
			}
		}
	})
}

// askEnds asks where the partitions end. While they are paused nothing is
// fetched that would tell.
func (c *Consumer) askEnds(partitions []kafka.TopicPartition) {
	c.use(func(client *kafka.Consumer) {
		high := make(map[int32]int64, len(partitions))
		for _, p := range partitions {
			_, end, err := client.QueryWatermarkOffsets(c.cfg.Topic, p.Partition, int(askTimeout.Milliseconds()))
			if err != nil {
				c.log.Debug("could not ask for the end of a partition", "topic", c.cfg.Topic, "err", err)
				break
			}
			high[p.Partition] = end
		}
		c.window.ends(high)
	})
}

var errForgotten = errors.New("not finished here: the record is left to the next owner of its partition")

func ids(partitions []kafka.TopicPartition) []int32 {
	list := make([]int32, len(partitions))
	for i, p := range partitions {
		list[i] = p.Partition
	}
	return list
}

// Close commits what is finished, leaves the group and releases the client. It
// is to be called after Run has returned or instead of it. While the broker is
// away the client takes up to the session timeout to give up; Close waits for it
// until ctx ends. Nothing is lost then, only done again. Further calls wait for
// the same end. After an error of Run it does nothing: a client that has failed
// for good may never end, and the process has to.
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
		c.log.Warn("kafka did not take the last commit in time, what it covers will be done again", "topic", c.cfg.Topic)
		return nil
	}
	if c.closeErr != nil {
		return fmt.Errorf("close the consumer of %s: %w", c.cfg.Topic, c.closeErr)
	}
	return nil
}

// Ready returns nil once the consumer has joined its group, and says otherwise
// what it waits for. It does not block.
func (c *Consumer) Ready() error {
	if !c.joined.Load() {
		return fmt.Errorf("not yet a member of consumer group %s", c.cfg.Group)
	}
	return nil
}
