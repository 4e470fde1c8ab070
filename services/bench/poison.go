package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"golang.org/x/sync/errgroup"

	"fault-tolerant-tracing/tracing/batch"
)

// settleFor is how long to wait until all is committed, once all is written.
const settleFor = time.Minute

// poison measures how long good records take from their timestamp to Jaeger's 2xx
// with bad ones beside them, and what is set aside meanwhile.
func (b *bench) poison(ctx context.Context, by program, s scenario) (table, error) {
	topic, err := b.newTopic(ctx, "poison", partitions)
	deadLetters := topic + "-dlq"
	if err := errors.Join(err, b.kafka.createTopic(ctx, deadLetters, 1), b.kafka.forget(ctx, relayGroup)); err != nil {
		return nil, err
	}
	store := filepath.Join(b.work, "badger")
	defer os.RemoveAll(store)
	at, err := freeAddrs()
	if err != nil {
		return nil, err
	}
	jaeger, err := b.startCollectorAt(ctx, at, badgerStore(store))
	if err != nil {
		return nil, err
	}
	defer jaeger.stop()
	front, to, stop, err := startFront(jaeger.urls, s.fault)
	if err != nil {
		return nil, err
	}
	defer stop()
	r, err := b.startRelay(by, topic, deadLetters, to)
	if err != nil {
		return nil, err
	}
	defer r.stop()
	if err := r.await(ctx, r.ready); err != nil {
		return nil, err
	}
	w, err := b.write(ctx, topic, warmingUp())
	if err != nil {
		return nil, err
	}
	if _, err := b.settle(ctx, topic, func() bool { return len(front.delays(w.good)) == len(w.good) }); err != nil {
		return nil, err
	}
	w, err = b.write(ctx, topic, s.phases())
	if err != nil {
		return nil, err
	}
	o := outcome{good: len(w.good), expected: w.letters}
	if o.took, err = b.settle(ctx, topic, func() bool { return len(front.delays(w.good)) == len(w.good) }); err != nil {
		return nil, err
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	o.peak, o.delays = r.peak(), front.delays(w.good)
	r.stop()
	if err := b.readTopic(ctx, deadLetters, o.letter); err != nil {
		return nil, err
	}
	return o.table(s, by), nil
}

// settle waits until all that is on a topic is done and committed, for settleFor at
// most, and returns how long it took; 0: longer. Good records go on coming meanwhile.
func (b *bench) settle(ctx context.Context, topic string, done func() bool) (took time.Duration, err error) {
	ends, err := b.kafka.ends(ctx, topic)
	if err != nil {
		return 0, err
	}
	ctx, stop := context.WithCancel(ctx)
	var more errgroup.Group
	more.Go(func() error { _, err := b.write(ctx, topic, goingOn()); return err })
	defer func() {
		stop()
		if e := more.Wait(); !errors.Is(e, context.Canceled) {
			err = errors.Join(err, e)
		}
	}()
	for begin := time.Now(); time.Since(begin) < settleFor; {
		left, err := b.kafka.uncommittedTo(ctx, relayGroup, ends)
		if err != nil {
			return 0, err
		}
		if left == 0 && done() {
			return time.Since(begin), nil
		}
		if err := pause(ctx, time.Now().Add(every)); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// outcome is what became of a scenario.
type outcome struct {
	good      int             // records
	delays    []time.Duration // of those that Jaeger has taken
	expected  int             // letters
	letters   int             // on the dead-letter topic
	goodAside int             // spans in them that Jaeger would have taken
	took      time.Duration   // until all was committed, from the last record; 0: longer than settleFor
	peak      uint64          // resident memory of the relay, in bytes
}

// letter takes in a record of the dead-letter topic.
func (o *outcome) letter(m *kafka.Message) error {
	o.letters++
	decoded, err := batch.Decode(m.Value)
	if err != nil {
		return nil //nolint:nilerr // no batch: there is no good span in it
	}
	for _, span := range decoded.Spans {
		if span.OperationName != poisoned {
			o.goodAside++
		}
	}
	return nil
}

func (o *outcome) table(s scenario, by program) table {
	slices.Sort(o.delays)
	took := "> " + fmt.Sprint(settleFor.Seconds())
	if o.took > 0 {
		took = fmt.Sprintf("%.1f", o.took.Seconds())
	}
	return table{
		{"good records beside bad ones, from the timestamp to 2xx", "p50, ms", "p99, ms", "max, ms", "good records taken", "set aside", "good spans among them", "all committed, s after the last record", "relay's memory, MB", "target"},
		{s.label + by.note, millis(quantile(o.delays, 50)), millis(quantile(o.delays, 99)), millis(quantile(o.delays, 100)),
			fmt.Sprintf("%d of %d", len(o.delays), o.good), fmt.Sprintf("%d of %d", o.letters, o.expected), fmt.Sprint(o.goodAside),
			took, fmt.Sprint(o.peak / 1e6), s.target},
	}
}

// writer writes the records of a scenario and remembers the good ones.
type writer struct {
	*filler
	good    []written
	letters int // that the others make
}

// written is a good record.
type written struct {
	first spanID
	at    time.Time // its timestamp
}

// write returns when Kafka has all, or ctx has ended.
func (b *bench) write(ctx context.Context, topic string, phases []phase) (*writer, error) {
	f, err := b.kafka.newFiller(backlog{topic: topic}, 5)
	if err != nil {
		return nil, err
	}
	w := &writer{filler: f}
	for _, p := range phases {
		err = errors.Join(err, w.phase(ctx, p))
	}
	return w, errors.Join(err, f.close(context.WithoutCancel(ctx)))
}

func (w *writer) phase(ctx context.Context, p phase) error {
	begin := time.Now()
	for i, from := range p.order {
		if p.perSecond > 0 {
			if err := pause(ctx, begin.Add(time.Duration(i)*time.Second/time.Duration(p.perSecond))); err != nil {
				return err
			}
		}
		at := time.Now()
		client, value, first, err := from.next()
		if err := errors.Join(err, w.put(ctx, client, value, at)); err != nil {
			return err
		}
		if w.letters += from.letters(); from.good() {
			w.good = append(w.good, written{first: first, at: at})
		}
	}
	return nil
}
