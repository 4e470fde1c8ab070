package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"golang.org/x/sync/errgroup"

	"fault-tolerant-tracing/services/internal/deadletter"
	"fault-tolerant-tracing/services/internal/kafkaadmin"
	"fault-tolerant-tracing/services/internal/scan"
	"fault-tolerant-tracing/services/internal/service"
	"fault-tolerant-tracing/tracing/kafkaclient"
)

const removeTimeout = 10 * time.Second

// Sweep handles so many letters, or so many bytes of them, at once.
const (
	sweepLetters = 100
	sweepBytes   = 8 << 20
)

// choice says which letters a command is about; zero: about all.
type choice struct {
	places []position
	reason string // that they have in their reason
}

// newChoice reads the arguments of a command.
func newChoice(offsets []string, reason string) (choice, error) {
	if len(offsets) > 0 && reason != "" {
		return choice{}, service.Usage("say OFFSETs or --reason, not both")
	}
	c := choice{reason: reason}
	for _, text := range offsets {
		p, err := parsePosition(text)
		if err != nil {
			return choice{}, err
		}
		c.places = append(c.places, p)
	}
	return c, nil
}

func (c choice) all() bool { return len(c.places) == 0 && c.reason == "" }

func (c choice) wants(a aside) bool {
	return (len(c.places) == 0 || slices.Contains(c.places, a.place)) && strings.Contains(a.Reason, c.reason)
}

// opened are letters that may be written anew and removed. Kafka removes only what is
// before an offset: a letter that is to stay is written again, behind all others, before
// it is removed. Whenever a command is ended, no letter is lost; some may be there twice.
type opened struct {
	letters
	chosen choice
	ranges []scan.Range // what has to be read for the chosen ones
	count  int64        // of these

	scan     *scan.Topic
	admin    *kafkaadmin.Admin
	producer *kafkaclient.Producer
	queue    *deadletter.Queue
}

// open connects to the topic, makes sure that letters may be removed, and finds the chosen ones.
func (l letters) open(ctx context.Context, chosen choice) (o *opened, err error) {
	o = &opened{letters: l, chosen: chosen}
	defer func() {
		if err != nil {
			err = errors.Join(err, o.close(ctx))
		}
	}()
	if o.scan, err = scan.Open(ctx, l.cluster, l.topic); err != nil {
		return o, err
	}
	if o.admin, err = kafkaadmin.New(l.cluster); err != nil {
		return o, err
	}
	quiet := slog.New(slog.DiscardHandler) // a command tells its errors itself
	if o.producer, err = deadletter.NewProducer(l.cluster, quiet); err != nil {
		return o, err
	}
	o.queue = deadletter.New(o.producer, l.topic)
	ranges, err := o.scan.All()
	if err != nil {
		return o, err
	}
	begin := map[int32]int64{}
	for _, r := range ranges {
		begin[r.Partition] = r.From
	}
	if err := o.remove(begin); err != nil {
		return o, err
	}
	o.ranges, o.count, err = l.survey(ctx, o.scan, chosen)
	return o, err
}

func (o *opened) close(ctx context.Context) (err error) {
	if o.producer != nil {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
		defer cancel()
		err = o.producer.Close(closing)
	}
	if o.admin != nil {
		o.admin.Close()
	}
	if o.scan != nil {
		o.scan.Close()
	}
	return err
}

// survey returns how many letters are chosen of those that are there now, and what has to
// be read of each partition for them.
func (l letters) survey(ctx context.Context, topic *scan.Topic, c choice) (ranges []scan.Range, chosen int64, err error) {
	held, err := topic.All()
	if err != nil || c.all() {
		return held, scan.Records(held), err
	}
	found := map[position]bool{}
	for _, r := range held {
		end := r.From
		err := topic.Read(ctx, []scan.Range{r}, func(m *kafka.Message) error {
			if a := newAside(l.format, m); c.wants(a) {
				found[a.place], end = true, a.place.offset+1
			}
			return nil
		})
		if err != nil {
			return nil, 0, err
		}
		ranges = append(ranges, scan.Range{Partition: r.Partition, From: r.From, To: end})
	}
	for _, p := range c.places {
		if !found[p] {
			return nil, 0, l.missing(p, held)
		}
	}
	return ranges, int64(len(found)), nil
}

// keep writes a letter that is to stay as it was.
func (o *opened) keep(ctx context.Context, a aside) error {
	return o.queue.Write(ctx, a.Again(a.Value, errors.New(a.Reason)))
}

// sweep calls handle for each letter of the ranges, for some of them at once, and
// removes those for which it has returned nil, as all before them.
func (o *opened) sweep(ctx context.Context, handle func(context.Context, aside) error) error {
	for _, r := range o.ranges {
		work, count, size, end := new(errgroup.Group), 0, 0, r.From
		finish := func() error {
			err := work.Wait()
			if err == nil && count > 0 {
				err = o.remove(map[int32]int64{r.Partition: end})
			}
			work, count, size = new(errgroup.Group), 0, 0
			return err
		}
		err := o.scan.Read(ctx, []scan.Range{r}, func(m *kafka.Message) error {
			a := newAside(o.format, m)
			work.Go(func() error { return handle(ctx, a) })
			count, size, end = count+1, size+len(m.Value), a.place.offset+1
			if count < sweepLetters && size < sweepBytes {
				return nil
			}
			return finish()
		})
		if err := errors.Join(err, finish()); err != nil {
			return err
		}
	}
	return nil
}

// remove deletes the letters of the partitions before these offsets, also after Ctrl-C.
func (o *opened) remove(before map[int32]int64) error {
	if len(before) == 0 {
		return nil
	}
	var places []kafka.TopicPartition
	for partition, offset := range before {
		places = append(places, kafka.TopicPartition{Topic: &o.topic, Partition: partition, Offset: kafka.Offset(offset)})
	}
	ctx, cancel := context.WithTimeout(context.Background(), removeTimeout)
	defer cancel()
	results, err := o.admin.DeleteRecords(ctx, places, kafka.SetAdminRequestTimeout(removeTimeout))
	for _, result := range results.DeleteRecordsResults {
		if result.TopicPartition.Error != nil {
			err = result.TopicPartition.Error
		}
	}
	if err != nil {
		return fmt.Errorf("remove records from %s: %w", o.topic, err)
	}
	return nil
}
