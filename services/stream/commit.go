package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"fault-tolerant-tracing/services/internal/progress"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"
)

const flushTimeout = 2 * time.Second // for the spans of what is finished at the end of a session

// commitInOrder keeps goka from committing past a message that is not done.
//
// goka marks each message as soon as what it emitted is acknowledged, and a
// commit covers everything up to the highest mark. A message that is still being
// retried is lost if a later one of its partition is marked before the processor
// stops. With this builder only the contiguous prefix of finished messages
// reaches sarama, once flush has returned: what counts as done has its trace.
func commitInOrder(conf *sarama.Config, topic string, flush func(context.Context) error, log *slog.Logger) goka.ConsumerGroupBuilder {
	return func(brokers []string, group, clientID string) (sarama.ConsumerGroup, error) {
		conf.ClientID = clientID
		client, err := sarama.NewClient(brokers, conf)
		if err != nil {
			return nil, err
		}
		admin, err := sarama.NewClusterAdminFromClient(client)
		if err != nil {
			return nil, errors.Join(err, client.Close())
		}
		inner, err := sarama.NewConsumerGroupFromClient(group, client)
		if err != nil {
			return nil, errors.Join(err, admin.Close())
		}
		return orderedGroup{inner, origin{admin, group, topic, conf.Metadata.RefreshFrequency, log}, flush, log}, nil
	}
}

type orderedGroup struct {
	sarama.ConsumerGroup
	origin origin
	flush  func(context.Context) error // of spans
	log    *slog.Logger
}

// Close leaves the group and closes the client.
func (g orderedGroup) Close() error {
	return errors.Join(g.ConsumerGroup.Close(), g.origin.admin.Close())
}

// Consume blocks for one session after another, until one fails or ctx ends. goka
// would wait for 5 s before it joins again: together with the heartbeat in which a
// member learns that it should, that is more than a group with a short session
// timeout waits for, and two members would shut each other out in turn.
func (g orderedGroup) Consume(ctx context.Context, topics []string, h sarama.ConsumerGroupHandler) error {
	for {
		session, end := context.WithCancel(ctx)
		err := g.ConsumerGroup.Consume(session, topics, &orderedHandler{ConsumerGroupHandler: h, origin: g.origin, end: end, flush: g.flush, log: g.log})
		end()
		if err != nil || ctx.Err() != nil {
			return err
		}
		g.log.Warn("group rebalances or its broker is away, joining again", "topics", topics)
	}
}

// orderedHandler shows goka one session with its marks put in order.
type orderedHandler struct {
	sarama.ConsumerGroupHandler
	origin  origin
	end     func() // of the session
	flush   func(context.Context) error
	log     *slog.Logger
	session *orderedSession
	marking sync.WaitGroup
}

// Setup begins a session.
func (h *orderedHandler) Setup(s sarama.ConsumerGroupSession) (err error) {
	h.session = &orderedSession{ConsumerGroupSession: s, partitions: map[partition]*finished{}}
	h.marking.Go(func() { h.keepMarking(s.Context()) })
	if h.session.topicID, err = h.origin.begin(s); err != nil {
		return err
	}
	go h.origin.watch(s.Context(), h.session.topicID, h.end)
	return h.ConsumerGroupHandler.Setup(h.session)
}

// Cleanup marks what is finished at the end of a session. sarama commits it then.
func (h *orderedHandler) Cleanup(sarama.ConsumerGroupSession) error {
	err := h.ConsumerGroupHandler.Cleanup(h.session)
	if isLeft(err) { // which is no fault of this processor
		err = nil
	}
	h.marking.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	if err := h.session.mark(ctx, h.flush); err != nil {
		h.log.Warn("kafka did not take the spans of what is finished in time, it will be done again", "err", err)
	}
	return err
}

// keepMarking marks what is finished from time to time until ctx ends.
func (h *orderedHandler) keepMarking(ctx context.Context) {
	tick := time.NewTicker(commitInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = h.session.mark(ctx, h.flush) // the next one makes up for it
		case <-ctx.Done():
			return
		}
	}
}

func (h *orderedHandler) ConsumeClaim(_ sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	messages, left := make(chan *sarama.ConsumerMessage), make(chan struct{})
	var forwarding sync.WaitGroup
	forwarding.Go(func() {
		defer close(messages)
		h.forward(claim.Messages(), messages, left)
	})
	defer forwarding.Wait()
	defer close(left)
	return h.ConsumerGroupHandler.ConsumeClaim(h.session, orderedClaim{claim, messages})
}

// forward notes each message before goka sees it.
func (h *orderedHandler) forward(from <-chan *sarama.ConsumerMessage, to chan<- *sarama.ConsumerMessage, left <-chan struct{}) {
	for {
		select {
		case m, ok := <-from:
			if !ok {
				return
			}
			h.session.begin(partition{m.Topic, m.Partition}, m.Offset)
			select {
			case to <- m:
			case <-left:
				return
			}
		case <-left:
			return
		}
	}
}

type orderedClaim struct {
	sarama.ConsumerGroupClaim
	messages <-chan *sarama.ConsumerMessage
}

func (c orderedClaim) Messages() <-chan *sarama.ConsumerMessage { return c.messages }

type partition struct {
	topic string
	id    int32
}

// finished is what goka has been given of a partition, and how far it is done.
type finished struct {
	progress.Progress
	unfinished map[int64]*progress.Mark // by offset
	marked     int64                    // what sarama was told last
}

// orderedSession keeps marks until everything before them is done, and its spans are flushed.
type orderedSession struct {
	sarama.ConsumerGroupSession
	topicID string

	mu         sync.Mutex
	partitions map[partition]*finished
}

func (s *orderedSession) begin(p partition, offset int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.partitions[p]
	if f == nil {
		f = &finished{unfinished: map[int64]*progress.Mark{}, marked: offset}
		s.partitions[p] = f
	}
	f.unfinished[offset] = f.Read(offset, time.Time{})
}

// MarkOffset says that the message before offset next is done. It is the one way
// in which goka marks.
func (s *orderedSession) MarkOffset(topic string, id int32, next int64, _ string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.partitions[partition{topic, id}]
	f.unfinished[next-1].Done()
	delete(f.unfinished, next-1)
}

// mark tells sarama what is finished, once its spans are flushed. It blocks until then, or
// until ctx ends.
func (s *orderedSession) mark(ctx context.Context, flush func(context.Context) error) error {
	ahead := map[partition]int64{}
	s.mu.Lock()
	for p, f := range s.partitions {
		if done, _ := f.Next(); done > f.marked {
			ahead[p] = done
		}
	}
	s.mu.Unlock()
	if len(ahead) == 0 {
		return nil
	}
	if err := flush(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, done := range ahead {
		s.partitions[p].marked = done
		s.ConsumerGroupSession.MarkOffset(p.topic, p.id, done, s.topicID)
	}
	return nil
}
