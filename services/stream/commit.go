package main

import (
	"context"
	"log/slog"
	"sync"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"
)

// commitInOrder keeps goka from committing past a message that is not done.
//
// goka marks each message as soon as what it emitted is acknowledged, and a
// commit covers everything up to the highest mark. A message that is still being
// retried is lost if a later one of its partition is marked before the processor
// stops. With this builder only the contiguous prefix of finished messages
// reaches sarama.
func commitInOrder(next goka.ConsumerGroupBuilder, log *slog.Logger) goka.ConsumerGroupBuilder {
	return func(brokers []string, group, clientID string) (sarama.ConsumerGroup, error) {
		inner, err := next(brokers, group, clientID)
		if err != nil {
			return nil, err
		}
		return orderedGroup{inner, log}, nil
	}
}

type orderedGroup struct {
	sarama.ConsumerGroup
	log *slog.Logger
}

// Consume blocks for one session. goka calls it again some seconds after a
// session has ended.
func (g orderedGroup) Consume(ctx context.Context, topics []string, h sarama.ConsumerGroupHandler) error {
	err := g.ConsumerGroup.Consume(ctx, topics, &orderedHandler{ConsumerGroupHandler: h})
	if err == nil && ctx.Err() == nil {
		g.log.Warn("group rebalances or its broker is away, joining again", "topics", topics)
	}
	return err
}

// orderedHandler shows goka each session with its marks put in order.
type orderedHandler struct {
	sarama.ConsumerGroupHandler
	session *orderedSession
}

func (h *orderedHandler) Setup(s sarama.ConsumerGroupSession) error {
	h.session = &orderedSession{ConsumerGroupSession: s, windows: map[partition]*window{}}
	return h.ConsumerGroupHandler.Setup(h.session)
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

// window holds what goka has been given of a partition and has not finished, or
// has finished before something older.
type window struct {
	begun []int64 // offsets, in order
	done  map[int64]bool
}

// orderedSession passes marks on as far as everything before them is done.
type orderedSession struct {
	sarama.ConsumerGroupSession

	mu      sync.Mutex
	windows map[partition]*window
}

func (s *orderedSession) begin(p partition, offset int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.windows[p]
	if w == nil {
		w = &window{done: map[int64]bool{}}
		s.windows[p] = w
	}
	w.begun = append(w.begun, offset)
}

// MarkOffset says that the message before offset next is done. It is the one way
// in which goka marks.
func (s *orderedSession) MarkOffset(topic string, id int32, next int64, metadata string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.windows[partition{topic, id}]
	w.done[next-1] = true
	mark := int64(-1)
	for len(w.begun) > 0 && w.done[w.begun[0]] {
		mark = w.begun[0] + 1
		delete(w.done, w.begun[0])
		w.begun = w.begun[1:]
	}
	if mark >= 0 {
		s.ConsumerGroupSession.MarkOffset(topic, id, mark, metadata)
	}
}
