package main

import (
	"bytes"
	"context"
	"log/slog"
	"strings"

	"fault-tolerant-tracing/services/internal/deadletter"
	"fault-tolerant-tracing/tracing/kafkatrace"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/lovoo/goka"
	"github.com/opentracing/opentracing-go"
	"golang.org/x/sync/semaphore"
)

const (
	// maxAside is how many bytes are on their way to the dead-letter topic at
	// once: they fit into the producer's 32 MiB.
	maxAside = 30 << 20

	// asideBytes is what a record counts beside its value and headers.
	asideBytes = 4 << 10
)

// deadLetters sets records aside. It is safe for several goroutines.
type deadLetters struct {
	queue *deadletter.Queue
	room  *semaphore.Weighted // maxAside
	log   *slog.Logger
}

// setAside passes the record on as it is, but for what goka does not show: a
// null key becomes an empty one, and of several headers of one name the last is
// kept. goka commits it only when it is acknowledged, counted is called then; if
// it is refused, the processor fails. It blocks while too much is on its way.
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
	if err := d.room.Acquire(ctx.Context(), room); err != nil {
		done(err)
		return
	}
	go func() {
		defer d.room.Release(room)
		// What is on its way when the processor stops is still delivered.
		err := d.queue.Write(context.WithoutCancel(ctx.Context()), letter, tags...)
		if err == nil {
			d.log.Warn("record set aside", "topic", letter.Topic, "partition", letter.Partition, "offset", letter.Offset, "err", reason)
			counted()
		}
		done(err)
	}()
}
