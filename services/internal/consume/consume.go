// Package consume reads one Kafka topic as a member of a consumer group, and has a
// [dispatch.Dispatcher] carry each record through a handler, at least once.
//
// Its promise: the offset of a record is committed only after that record and every
// record before it in its partition are delivered or set aside. What is finished after
// its partition went to another member is forgotten: the new owner does it again. A
// topic that was made anew is read from its beginning, whatever was committed of the
// old one.
//
// The poll loop (consumer.go) talks to the broker and never waits long for the handler,
// so that the consumer keeps its place in the group. What lasts and needs a person is
// in the log and in [Status].
package consume

import (
	"context"
	"log/slog"
	"time"

	"fault-tolerant-tracing/services/internal/dispatch"
	"fault-tolerant-tracing/tracing/kafkaclient"
)

const (
	pollTimeout    = 50 * time.Millisecond  // how soon the loop sees what was finished
	storeInterval  = 20 * time.Millisecond  // between two looks at what was finished
	pauseAfter     = 2 * time.Second        // without room
	commitInterval = 200 * time.Millisecond // so much may be repeated after a crash
	drainTimeout   = 2 * time.Second        // for what is under way when a partition is taken away
	flushTimeout   = 2 * time.Second        // for the spans of what was finished then, and at the end
	askTimeout     = 2 * time.Second
	askInterval    = 2 * time.Second  // for the ends of partitions, while paused
	topicInterval  = 30 * time.Second // for the id of the topic
	renewWait      = time.Second      // before a client that has failed for good is replaced
	stalledAfter   = 30 * time.Second // nothing read of a partition that has more

	// What the client fetches of a partition at a time, a larger record coming alone;
	// of all partitions; and what it keeps that has not been read.
	fetchBytes   = 1 << 20
	fetchTotal   = 4 << 20
	fetchedBytes = 4 << 20

	// maxUnpacked bounds what a compressed batch may unpack to: zstd makes 98 MB of
	// 3 kB. A partition with a larger one stalls, and says so.
	maxUnpacked = 32 << 20
)

// Config says what to read and what to do with it.
type Config struct {
	Cluster        kafkaclient.Cluster
	Group          string
	InstanceID     string        // static membership; empty: none
	SessionTimeout time.Duration // after which a silent member loses its partitions
	Topic          string

	// Dispatch says what to do with the records. Fetch and Log are the consumer's.
	Dispatch dispatch.Config
	// Flush, if there is one, is called before offsets are handed out to be committed, which waits
	// until it has returned nil: what counts as done then has its trace, or is known to be safe. It
	// blocks; ctx ends with the consumer, or with its partitions. An error before that says that what is
	// finished may be lost: reading goes back to what is committed, and all behind it is done again.
	Flush func(ctx context.Context) error
	// StopTimeout bounds how long a graceful stop waits for what is under way.
	StopTimeout time.Duration
	Log         *slog.Logger
}
