package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"golang.org/x/sync/errgroup"

	"fault-tolerant-tracing/services/internal/deadletter"
	query "fault-tolerant-tracing/services/internal/jaeger"
	"fault-tolerant-tracing/services/internal/printable"
)

const (
	every      = time.Second
	averaged   = 5 // looks that a rate is taken over: groups commit every few seconds
	askTimeout = 2 * time.Second
	remembered = 10 * time.Minute // what the time line shows
	shown      = 12               // answers, and letters
)

// relayGroup is the consumer group of all relays.
const relayGroup = "tracing-relay"

// watch looks at the system once a second, and tells those that listen. It is safe for several goroutines.
type watch struct {
	cfg           config
	data, tracing *cluster
	peers         peers
	jaeger        *query.Query
	demo          *remote
	spans         *spanCount
	log           *slog.Logger

	mu        sync.Mutex
	answers   []answer
	letters   []letter
	history   []point
	latest    []byte // the state in JSON
	listeners map[chan []byte]bool

	before  []seen  // of the tick alone: what the last looks have seen
	outages outages // of the tick alone
}

// seen is what rates are taken from.
type seen struct {
	at                 time.Time
	ends, committed    map[string]int64 // by topic
	written, delivered int64
}

func newWatch(cfg config, demo *remote, log *slog.Logger) (*watch, error) {
	t := cfg.Topics
	data, err := openCluster(cfg.Kafka.Cluster(), []watched{
		{name: t.Number, group: "stream-app"}, {name: t.Even, group: "sentence-app"}, {name: t.Sentence, group: "answer-app"},
		{name: t.Odd}, {name: t.Answer, tail: shown},
		{name: t.NumberDLQ, tail: shown}, {name: t.EvenDLQ, tail: shown}, {name: t.SentenceDLQ, tail: shown}, {name: t.AnswerDLQ, tail: shown},
	})
	if err != nil {
		return nil, err
	}
	tracing, err := openCluster(cfg.TracingKafka.Cluster(), []watched{{name: cfg.TracingTopic, group: relayGroup, tail: all}, {name: t.TracingDLQ, tail: shown}})
	if err != nil {
		data.close()
		return nil, err
	}
	return &watch{
		cfg: cfg, data: data, tracing: tracing, peers: peers{relay: cfg.RelayURL, random: cfg.RandomURL},
		jaeger: query.NewQuery(cfg.QueryURL.String()), demo: demo, spans: newSpanCount(), log: log, listeners: map[chan []byte]bool{},
		answers: []answer{}, letters: []letter{},
	}, nil
}

func (w *watch) close(context.Context) error {
	w.data.close()
	w.tracing.close()
	return nil
}

// run looks until ctx ends.
func (w *watch) run(ctx context.Context) error {
	work, ctx := errgroup.WithContext(ctx)
	for _, c := range []*cluster{w.data, w.tracing} {
		work.Go(func() error { return c.follow(ctx, w.read) })
		work.Go(func() error { return c.awaitLogin(ctx) })
	}
	work.Go(func() error {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			w.publish(w.look(ctx))
			select {
			case <-tick.C:
			case <-ctx.Done():
				return nil
			}
		}
	})
	return work.Wait()
}

// look asks everybody.
func (w *watch) look(ctx context.Context) state {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	s := state{At: time.Now(), Topics: map[string]topic{}}
	var (
		data, tracing               map[place]*position
		groups                      []string
		dataErr, tracingErr, random error
		asked                       sync.WaitGroup
	)
	asked.Go(func() {
		if data, dataErr = w.data.ask(ctx); dataErr == nil {
			groups, dataErr = w.data.present(ctx)
		}
	})
	asked.Go(func() { tracing, tracingErr = w.tracing.ask(ctx) })
	asked.Go(func() { s.Relay, s.Spans.Lost = w.peers.askRelay(ctx) })
	asked.Go(func() { random = w.peers.askRandom(ctx) })
	asked.Go(func() { _, err := w.jaeger.Services(ctx); s.Jaeger = peerOf(err) })
	asked.Go(func() { s.Demo = w.demo.about(ctx) })
	asked.Wait()

	s.Kafka = peerOf(errors.Join(dataErr, tracingErr))
	for _, service := range []string{"stream", "sentence", "answer"} {
		s.Parts = append(s.Parts, part{service, slices.Contains(groups, service+"-app")})
	}
	s.Parts = append(s.Parts, part{"random", random == nil})
	for at, p := range tracing {
		if at.topic == w.cfg.TracingTopic {
			w.spans.commit(at.partition, p.committed)
		}
	}
	s.Spans.Written, s.Spans.Delivered = w.spans.totals()
	s.Spans.Waiting = s.Spans.Written - s.Spans.Delivered
	w.rates(&s, data, tracing)
	s.Outages = w.outages.look(s)
	w.mu.Lock()
	s.Answers, s.Letters = slices.Clone(w.answers), slices.Clone(w.letters)
	w.mu.Unlock()
	return s
}

// rates fills in the topics, and what a second has brought of late.
func (w *watch) rates(s *state, clusters ...map[place]*position) {
	now := seen{at: s.At, ends: map[string]int64{}, committed: map[string]int64{}, written: s.Spans.Written, delivered: s.Spans.Delivered}
	for _, positions := range clusters {
		for at, p := range positions {
			t := s.Topics[at.topic]
			t.Records += p.end - p.start
			if p.committed >= 0 {
				now.committed[at.topic] += p.committed
			}
			t.Lag += p.lag()
			s.Topics[at.topic] = t
			now.ends[at.topic] += p.end
		}
	}
	var first seen
	if len(w.before) > 0 {
		first = w.before[0]
	}
	rate := func(now, before int64) float64 { return max(0, float64(now-before)/s.At.Sub(first.at).Seconds()) }
	for name, t := range s.Topics {
		if before, known := first.ends[name]; known {
			t.Rate = rate(now.ends[name], before)
		}
		if before, known := first.committed[name]; known {
			t.Done = rate(now.committed[name], before)
		}
		s.Topics[name] = t
	}
	if len(w.before) > 0 {
		s.Spans.In, s.Spans.Out = rate(now.written, first.written), rate(now.delivered, first.delivered)
	}
	if s.Kafka.Up {
		w.before = append(w.before, now)
		w.before = w.before[max(0, len(w.before)-averaged):]
	}
}

// publish tells those that listen. One that is slow misses some.
func (w *watch) publish(s state) {
	text, err := json.Marshal(s)
	if err != nil {
		w.log.Error("the state cannot be told", "err", err)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.latest = text
	w.history = append(w.history, point{At: s.At.UnixMilli(), Waiting: s.Spans.Waiting})
	if extra := len(w.history) - int(remembered/every); extra > 0 {
		w.history = slices.Delete(w.history, 0, extra)
	}
	for listener := range w.listeners {
		select {
		case listener <- text:
		default:
		}
	}
}

const maxListeners = 32

// listen returns what was until now, and a channel with every state from now on; done must be called.
func (w *watch) listen() (history []point, latest []byte, states <-chan []byte, done func(), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.listeners) >= maxListeners {
		return nil, nil, nil, nil, fmt.Errorf("%d pages are open: close one", maxListeners)
	}
	listener := make(chan []byte, 1)
	w.listeners[listener] = true
	return slices.Clone(w.history), w.latest, listener, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.listeners, listener)
	}, nil
}

// read takes in a record of a topic.
func (w *watch) read(m *kafka.Message) {
	switch *m.TopicPartition.Topic {
	case w.cfg.TracingTopic:
		spans := 0
		if parsed, err := w.cfg.Format.Parse(m.Value); err == nil {
			spans = parsed.Len()
		}
		w.spans.read(m.TopicPartition.Partition, int64(m.TopicPartition.Offset), spans)
	case w.cfg.Topics.Answer:
		w.mu.Lock()
		defer w.mu.Unlock()
		w.answers = latest(w.answers, answerOf(m), func(a answer) time.Time { return a.At })
	default:
		w.mu.Lock()
		defer w.mu.Unlock()
		w.letters = latest(w.letters, letterOf(m), func(l letter) time.Time { return l.At })
	}
}

// latest adds an item to a list of the latest ones, the latest first.
func latest[T any](list []T, item T, at func(T) time.Time) []T {
	list = append(list, item)
	slices.SortStableFunc(list, func(a, b T) int { return at(b).Compare(at(a)) })
	return list[:min(len(list), shown)]
}

func answerOf(m *kafka.Message) answer {
	a := answer{At: m.Timestamp, Text: "a record that is no answer"}
	var value struct{ CompleteSentence string }
	if json.Unmarshal(m.Value, &value) == nil && value.CompleteSentence != "" {
		a.Text = plain(value.CompleteSentence)
	}
	for _, h := range m.Headers {
		if h.Key == query.ContextHeader {
			a.Trace = cmp.Or(query.TraceOf(string(h.Value)), a.Trace)
		}
	}
	return a
}

func letterOf(m *kafka.Message) letter {
	e := deadletter.Read(m)
	return letter{
		Topic: *m.TopicPartition.Topic, From: plain(fmt.Sprintf("%s/%d/%d", e.Topic, e.Partition, e.Offset)), Reason: plain(e.Reason), At: e.Time,
	}
}

// plain is a text of a record, which may be of any length and hold anything, as it is shown.
func plain(text string) string {
	const most = 200
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	return printable.Line(text)
}
