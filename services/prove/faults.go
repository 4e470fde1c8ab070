package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"fault-tolerant-tracing/services/internal/deadletter"
	"fault-tolerant-tracing/services/internal/local"
	"fault-tolerant-tracing/services/internal/verdict"
)

// session is SESSION_TIMEOUT of all members of groups.
const session = 6 * time.Second

// tracingTopic is where the spans lie, and deadTopic where poison is set aside.
const (
	tracingTopic = "tracing-topic"
	deadTopic    = "tracing-dlq"
)

// fault is one that can be made to happen.
type fault struct {
	name    string
	on      string                                                  // the things it takes hold of: two faults on the same one do not happen together
	least   time.Duration                                           // below that it is none
	inflict func(ctx context.Context, p *proof, r *rand.Rand) error // lasts until ctx ends, and leaves all as it was
}

// meets tells whether two faults take hold of the same thing.
func (f fault) meets(other fault) bool {
	things := strings.Fields(other.on)
	return slices.ContainsFunc(strings.Fields(f.on), func(thing string) bool { return slices.Contains(things, thing) })
}

// allFaults are all that there are.
func (p *proof) allFaults() []fault {
	list := []fault{
		{"Jaeger stopped", "jaeger", 2 * time.Second, stopped("jaeger")},
		{"Jaeger killed", "jaeger", 2 * time.Second, killed("jaeger")},
		{"Jaeger frozen", "jaeger", 2 * time.Second, frozen("jaeger")},
		{"answers up to 3 s late", "answers", 4 * time.Second, answering(slow)},
		{"every other answer a 500", "answers", 2 * time.Second, answering(halfOf(status(http.StatusInternalServerError)))},
		{"every other answer a 429", "answers", 2 * time.Second, answering(halfOf(status(http.StatusTooManyRequests, "Retry-After", "1")))},
		{"every other answer a 400", "answers", 2 * time.Second, answering(halfOf(status(http.StatusBadRequest)))},
		{"every other answer a 403", "answers", 2 * time.Second, answering(halfOf(status(http.StatusForbidden)))},
		{"redirects", "answers", 2 * time.Second, answering(always(status(http.StatusFound, "Location", "/login")))},
		{"a web page with 200", "answers", 2 * time.Second, answering(always(status(http.StatusOK, "Content-Type", "text/html")))},
		{"connections closed before the answer", "answers", 2 * time.Second, answering(cut)},
		{"no answer ever", "answers", 4 * time.Second, answering(always(never))},
		{"every other answer a 200 that breaks off, nothing stored", "answers", 2 * time.Second, answering(halfOf(lie))},
		{"relay killed", "relay", 2 * time.Second, killed("relay")},
		{"relay frozen beyond its session", "relay", session + 3*time.Second, frozen("relay")},
		{"relays join and leave", "relay", 6 * time.Second, joining},
		{"Kafka stopped", "kafka", 3 * time.Second, stopped(p.nodes...)},
		{"Kafka killed", "kafka", 2 * time.Second, killed(p.nodes...)},
		{"Kafka frozen", "kafka", 3 * time.Second, frozen(p.nodes...)},
		{"Kafka says that it is where nobody reaches it", "kafka", 5 * time.Second, oneOf(p.nodes, misadvertised)},
		{"clients killed", "clients", 3 * time.Second, killed(clients...)},
		{"clients killed while Kafka is away", "kafka", 5 * time.Second, bereft},
		{"poison on tracing-topic", "tracing-topic", 3 * time.Second, writing(spanPoison, tracingTopic)},
		{"poison and hostile headers before each service", "number-topic", 3 * time.Second, writing(numberPoison, "number-topic", "even-topic", "sentence-topic")},
		{"poison while tracing-dlq is away", "tracing-topic answers", 4 * time.Second, withoutDLQ},
		{"tracing-topic grown", "partitions", 2 * time.Second, grown},
		{"tracing-topic emptied", "tracing-topic kafka", 3 * time.Second, emptied},
		{"tracing-topic made anew", "tracing-topic partitions kafka clients " + strings.Join(services[1:], " "), 4 * time.Second, anew},
	}
	list = append(list, scarcities()...)
	if len(p.nodes) > 1 {
		list = append(list, fault{"a node of Kafka stopped", "kafka", 3 * time.Second, oneOf(p.nodes, stopped)})
	}
	for _, name := range services[1:] {
		list = append(list, fault{name + " killed", name, 2 * time.Second, killed(name)})
	}
	return list
}

// stopped stops parts in order.
func stopped(names ...string) func(context.Context, *proof, *rand.Rand) error {
	return func(ctx context.Context, p *proof, _ *rand.Rand) error {
		if err := p.stop(names...); err != nil {
			return err
		}
		<-ctx.Done()
		for _, name := range names {
			if err := p.parts[name].Start(p.running); err != nil {
				return err
			}
		}
		return nil
	}
}

// stop stops parts, all at a time, and waits for them.
func (p *proof) stop(names ...string) error {
	ctx, cancel := context.WithTimeout(p.running, 2*local.StopGrace)
	defer cancel()
	var stopping errgroup.Group
	for _, name := range names {
		stopping.Go(func() error { return p.parts[name].Stop(ctx) })
	}
	return stopping.Wait()
}

// oneOf does something to one of several parts.
func oneOf(names []string, do func(...string) func(context.Context, *proof, *rand.Rand) error) func(context.Context, *proof, *rand.Rand) error {
	return func(ctx context.Context, p *proof, r *rand.Rand) error {
		return do(names[r.IntN(len(names))])(ctx, p, r)
	}
}

// nowhere is an address that nothing listens on.
const nowhere = host + ":1"

// misadvertised starts a node of Kafka anew, with a wrong address for its clients.
func misadvertised(names ...string) func(context.Context, *proof, *rand.Rand) error {
	return func(ctx context.Context, p *proof, _ *rand.Rand) error {
		p.misadvertised.Store(&names[0])
		if err := p.restart(names[0]); err != nil {
			return err
		}
		<-ctx.Done()
		p.misadvertised.Store(nil)
		return p.restart(names[0])
	}
}

func (p *proof) restart(name string) error {
	if err := p.stop(name); err != nil {
		return err
	}
	return p.parts[name].Start(p.running)
}

// killed kills parts at random moments, as kill -9 does. They are started again by themselves.
func killed(names ...string) func(context.Context, *proof, *rand.Rand) error {
	return func(ctx context.Context, p *proof, r *rand.Rand) error {
		for wait(ctx, time.Duration(r.IntN(1500))*time.Millisecond) {
			_ = p.parts[names[r.IntN(len(names))]].Kill() // it may have ended, and not be there again
		}
		return nil
	}
}

// wait waits, and tells whether ctx has not ended meanwhile.
func wait(ctx context.Context, long time.Duration) bool {
	select {
	case <-time.After(long):
		return true
	case <-ctx.Done():
		return false
	}
}

// frozen stops one of several parts where it is.
func frozen(names ...string) func(context.Context, *proof, *rand.Rand) error {
	return func(ctx context.Context, p *proof, r *rand.Rand) error {
		name := names[r.IntN(len(names))]
		if err := p.parts[name].Freeze(); err != nil {
			return err
		}
		<-ctx.Done()
		return p.parts[name].Thaw()
	}
}

// answering spoils what Jaeger answers.
func answering(spoiling func(*dice) answer) func(context.Context, *proof, *rand.Rand) error {
	return func(ctx context.Context, p *proof, r *rand.Rand) error {
		spoil := spoiling(&dice{r: r})
		p.front.spoiled.Store(&spoil)
		<-ctx.Done()
		p.front.spoiled.Store(nil)
		return nil
	}
}

// joining lets two more relays come and go.
func joining(ctx context.Context, p *proof, r *rand.Rand) error {
	for _, name := range guests {
		if err := p.parts[name].Start(p.running); err != nil {
			return err
		}
		wait(ctx, time.Duration(1000+r.IntN(1000))*time.Millisecond)
	}
	if p.jars != "" { // the small broker forgets a member that waits for the end of one that has died
		_ = p.parts[guests[1]].Kill()
	}
	<-ctx.Done()
	return p.stop(guests...)
}

// bereft takes Kafka away, and kills clients that keep their spans on disk meanwhile.
func bereft(ctx context.Context, p *proof, r *rand.Rand) error {
	return without(p.nodes, 2500*time.Millisecond, clients)(ctx, p, r) // what has waited for a second is on disk
}

// without stops parts, and kills others once when those have been away for so long.
func without(away []string, long time.Duration, others []string) func(context.Context, *proof, *rand.Rand) error {
	return func(ctx context.Context, p *proof, r *rand.Rand) error {
		gone := make(chan error, 1)
		go func() { gone <- stopped(away...)(ctx, p, r) }()
		if wait(ctx, long) {
			for _, name := range others {
				_ = p.parts[name].Kill() // it may have ended, and not be there again
			}
		}
		return <-gone
	}
}

// grown gives tracing-topic a partition more, and writes to all of them.
func grown(ctx context.Context, p *proof, r *rand.Rand) error {
	err := until(p.running, func(ctx context.Context) (string, bool) {
		answers, err := p.lag.admin.CreatePartitions(ctx, 1, tracingTopic)
		if err == nil {
			err = answers.Error()
		}
		return fmt.Sprint("there is no new partition: ", err), err == nil
	})
	if err != nil {
		return err
	}
	return writing(func(r *rand.Rand) *kgo.Record { return &kgo.Record{Value: anyBatch(r)} }, tracingTopic)(ctx, p, r)
}

// withoutDLQ writes poison while the topic is away on which it is to be set aside. Nothing else may be set aside as the fault begins: it could
// be lost with the topic.
func withoutDLQ(_ context.Context, p *proof, r *rand.Rand) error {
	letters, err := p.takeAway(deadTopic)
	if err != nil {
		return err
	}
	long, end := context.WithTimeout(p.running, 3*time.Second) // however long that took
	defer end()
	if err := writing(spanPoison, tracingTopic)(long, p, r); err != nil {
		return err
	}
	return p.putBack(letters, kgo.ProducerBatchMaxBytes(deadletter.MaxBytes))
}

// emptied deletes what is on tracing-topic, read by the relay or not, and writes it there again, as from a backup.
func emptied(ctx context.Context, p *proof, _ *rand.Rand) error {
	records, err := p.allOf(tracingTopic)
	if err != nil {
		return err
	}
	read := kadm.Offsets{}
	for _, record := range records { // in order within a partition
		read.AddOffset(record.Topic, record.Partition, record.Offset+1, -1)
	}
	err = until(p.running, func(ctx context.Context) (string, bool) {
		answers, err := p.lag.admin.DeleteRecords(ctx, read)
		if err == nil {
			err = answers.Error()
		}
		return fmt.Sprintf("%s cannot be emptied: %v", tracingTopic, err), err == nil
	})
	if err != nil {
		return err
	}
	<-ctx.Done()
	return p.putBack(records)
}

// anew deletes tracing-topic while nobody writes, and makes it again, with what was on it, while everybody does.
func anew(ctx context.Context, p *proof, _ *rand.Rand) error {
	writers := slices.Concat(services[1:], clients)
	thaw := func() {
		for _, name := range writers {
			_ = p.parts[name].Thaw() // it may have ended
		}
	}
	defer thaw()
	if err := until(p.running, func(ctx context.Context) (string, bool) { return p.freezeWriters(ctx, writers) }); err != nil {
		return err
	}
	records, err := p.takeAway(tracingTopic)
	if err != nil {
		return err
	}
	thaw()
	<-ctx.Done()
	return p.putBack(records)
}

// freezeWriters freezes parts, and tells, in the form that until wants, whether nothing comes to tracing-topic any more.
func (p *proof) freezeWriters(ctx context.Context, names []string) (string, bool) {
	for _, name := range names {
		if err := p.parts[name].Freeze(); err != nil {
			return err.Error(), false // it is being started again
		}
	}
	before, err := p.lag.ends(ctx, tracingTopic)
	wait(ctx, 500*time.Millisecond)
	after, err2 := p.lag.ends(ctx, tracingTopic)
	if err := errors.Join(err, err2); err != nil {
		return err.Error(), false
	}
	return "spans still come", reflect.DeepEqual(before.Offsets(), after.Offsets())
}

// allOf returns what is on a topic.
func (p *proof) allOf(topic string) (records []*kgo.Record, err error) {
	err = until(p.running, func(context.Context) (string, bool) {
		records = nil
		err := verdict.Scan(p.running, p.brokers(), func(record *kgo.Record) error {
			records = append(records, record)
			return nil
		}, topic)
		return fmt.Sprintf("%s cannot be read: %v", topic, err), err == nil
	})
	return records, err
}

// takeAway deletes a topic and returns what was on it.
func (p *proof) takeAway(topic string) ([]*kgo.Record, error) {
	records, err := p.allOf(topic)
	if err != nil {
		return nil, err
	}
	ends, err := p.lag.goal(p.running, topic)
	if err != nil {
		return nil, err
	}
	err = until(p.running, func(ctx context.Context) (string, bool) {
		_, err := p.lag.admin.DeleteTopic(ctx, topic)
		return fmt.Sprintf("%s cannot be deleted: %v", topic, err), err == nil || errors.Is(err, kerr.UnknownTopicOrPartition)
	})
	if err != nil {
		return nil, err
	}
	return records, until(p.running, func(ctx context.Context) (string, bool) { return p.lag.isGone(ctx, topic, ends) })
}

// putBack makes a topic again that was taken away, and writes to it what was on it.
func (p *proof) putBack(records []*kgo.Record, settings ...kgo.Opt) error {
	if err := p.makeTopics(p.running); err != nil {
		return err
	}
	client, err := newWriter(p.brokers(), settings...)
	if err != nil {
		return err
	}
	defer client.Close()
	return client.ProduceSync(p.running, records...).FirstErr()
}
