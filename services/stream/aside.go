package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"fault-tolerant-tracing/services/internal/deadletter"
	"fault-tolerant-tracing/tracing/kafkatrace"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/lovoo/goka"
	"github.com/opentracing/opentracing-go"
	"golang.org/x/sync/semaphore"
)

const (
	// maxAside is how many bytes are on their way to the dead-letter topic at
	// once: they fit into the producer's 32 MiB, if none is left there by an earlier session.
	maxAside = 30 << 20

	// asideBytes is what a record counts beside its value and headers.
	asideBytes = 4 << 10

	// asideTimeout is for what is on its way to it when the session ends.
	asideTimeout = 2 * time.Second

	// noAnswer is after how long without a record set aside it looks as if none could be.
	noAnswer = 5 * time.Second
)

// errLeft is of a record that is left to the next session.
var errLeft = errors.New("not set aside before the end of the session")

// isLeft tells whether an error of goka, which may be a list, tells of nothing else.
func isLeft(err error) bool {
	if list, ok := err.(interface{ WrappedErrors() []error }); ok {
		return !slices.ContainsFunc(list.WrappedErrors(), func(err error) bool { return !isLeft(err) })
	}
	if inner := errors.Unwrap(err); inner != nil {
		return isLeft(inner)
	}
	return errors.Is(err, errLeft)
}

// deadLetters sets records aside. It is safe for several goroutines.
type deadLetters struct {
	queue *deadletter.Queue
	room  *semaphore.Weighted // maxAside
	log   *slog.Logger

	mu      sync.Mutex
	waiting int
	last    time.Time // when one was written, or when the first of those that wait began to
	trouble string    // why one was refused, if none was written since
}

// setAside passes the record on as it is, but for what goka does not show: a
// null key becomes an empty one, and of several headers of one name the last is
// kept. goka commits it only when it is acknowledged, counted is called then. It
// blocks while too much is on its way.
func (d *deadLetters) setAside(ctx goka.Context, value []byte, reason error, counted func()) {
	span := opentracing.SpanFromContext(ctx.Context())
	kafkatrace.SetError(span, reason)
	var tags []opentracing.StartSpanOption
	if text := bytes.Trim(value, blank); len(text) > 0 {
		tag := opentracing.Tag{Key: numberValue, Value: strings.ToValidUTF8(string(text[:min(len(text), shown)]), "\uFFFD")}
		tag.Set(span)
		tags = append(tags, tag)
	}
	done := ctx.DeferCommit()
	letter := deadletter.Letter{
		Topic: string(ctx.Topic()), Partition: ctx.Partition(), Offset: ctx.Offset(),
		Key: []byte(ctx.Key()), Value: value, Reason: reason,
	}
	size := len(value) + asideBytes
	for key, header := range ctx.Headers() {
		letter.Headers = append(letter.Headers, kafka.Header{Key: key, Value: header})
		size += len(key) + len(header)
	}
	room := min(int64(size), maxAside)
	if d.room.Acquire(ctx.Context(), room) != nil {
		done(errLeft)
		return
	}
	d.begin()
	go func() {
		defer d.room.Release(room)
		defer d.end()
		err := d.write(ctx.Context(), letter, tags)
		if err == nil {
			counted()
		}
		done(err)
	}()
}

// write writes the letter, however long that takes. It gives up when ctx has ended, but not at
// once: what is on its way then is still delivered, if Kafka takes it.
func (d *deadLetters) write(ctx context.Context, letter deadletter.Letter, tags []opentracing.StartSpanOption) error {
	writing, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(asideTimeout, cancel) })()
	log := d.log.With("topic", letter.Topic, "partition", letter.Partition, "offset", letter.Offset)
	for waits := newWaits(); ; {
		err := d.queue.Write(writing, letter, tags...)
		if err == nil {
			d.written()
			log.Warn("record set aside", "err", letter.Reason)
			return nil
		}
		if ctx.Err() != nil {
			return errLeft
		}
		if d.refused(err) {
			log.Warn("could not set aside, trying again", "err", err, "reason", letter.Reason)
		}
		select {
		case <-ctx.Done():
			return errLeft
		case <-time.After(waits.NextBackOff()):
		}
	}
}

func (d *deadLetters) begin() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting == 0 {
		d.last = time.Now()
	}
	d.waiting++
}

func (d *deadLetters) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting--
}

func (d *deadLetters) written() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last, d.trouble = time.Now(), ""
}

// refused takes in why a letter was refused, and reports whether it is news.
func (d *deadLetters) refused(err error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.trouble
	d.trouble = err.Error()
	return before != d.trouble
}

// waits returns how many records are to be set aside.
func (d *deadLetters) waits() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.waiting
}

// failing tells whether some are and none has been for a while.
func (d *deadLetters) failing() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.waiting > 0 && time.Since(d.last) >= noAnswer
}
