// Package kafkaadmin asks a Kafka cluster about its topics, and waits for it: a service for as long as it takes, a command for ten
// seconds. It produces and consumes nothing.
package kafkaadmin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fault-tolerant-tracing/tracing/kafkaclient"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

const (
	askTimeout = 2 * time.Second        // for one answer of Kafka at the start
	askAgain   = 250 * time.Millisecond // between two questions
)

// Admin asks a Kafka cluster about its topics, and changes them. The caller closes it. Describe, Await and ListOffsets are safe for
// several goroutines; the rest belongs to one.
type Admin struct {
	cluster      kafkaclient.Cluster
	brokers      string
	mu           sync.RWMutex // held for reading while the client is used
	*adminClient              // replaced when its TLS files change, or it has failed for good
}

// New makes an admin client without asking the cluster anything. librdkafka's log lines are left out: what keeps it from
// connecting is in the error of Describe.
func New(cluster kafkaclient.Cluster) (*Admin, error) {
	client, err := newAdminClient(cluster)
	if err != nil {
		return nil, err
	}
	return &Admin{cluster: cluster, brokers: strings.Join(cluster.Brokers, ","), adminClient: client}, nil
}

type adminClient struct {
	*kafka.AdminClient
	credentials *kafkaclient.Credentials
	producer    *kafka.Producer // carries the AdminClient, which has no errors channel of its own
	drained     chan struct{}
	reason      atomic.Pointer[kafka.Error]
	failed      atomic.Bool // for good
}

func newAdminClient(cluster kafkaclient.Cluster) (*adminClient, error) {
	credentials := cluster.Credentials(slog.New(slog.DiscardHandler)) // the program's other clients tell
	conf := cluster.ConfigMap()
	conf["go.logs.channel.enable"] = false
	conf["log_level"] = 0
	conf["go.events.channel.size"] = 16 // nothing is produced here; the default is a million, 16 MB
	conf["go.produce.channel.size"] = 1 // and 8 MB
	producer, err := kafka.NewProducer(&conf)
	if err != nil {
		return nil, fmt.Errorf("make a kafka client: %w", err)
	}
	c := &adminClient{credentials: credentials, producer: producer, drained: make(chan struct{})}
	if c.AdminClient, err = kafka.NewAdminClientFromProducer(producer); err != nil {
		producer.Close()
		return nil, fmt.Errorf("make a kafka admin client: %w", err)
	}
	go func() {
		defer close(c.drained)
		for event := range producer.Events() {
			if e, ok := event.(kafka.Error); ok && e.Code() != kafka.ErrAllBrokersDown {
				text, _, _ := strings.Cut(e.Error(), " (after ") // how long, how often: different each time
				c.reason.Store(new(kafka.NewError(e.Code(), text, false)))
				if kafkaclient.IsFatal(e) {
					c.failed.Store(true)
				}
			}
		}
	}()
	return c, nil
}

// Close releases the client. (Without this method, a deferred Close would be that of the first one.)
func (a *Admin) Close() { a.adminClient.Close() }

func (c *adminClient) Close() {
	c.AdminClient.Close()
	c.producer.Close()
	<-c.drained
}

// refresh sees to it that the client works, and has the credentials of now, unless it is being used: then the next call will.
func (a *Admin) refresh() {
	if !a.mu.TryLock() {
		return
	}
	defer a.mu.Unlock()
	if a.failed.Load() || a.credentials.Refresh(a.producer) {
		if next, err := newAdminClient(a.cluster); err == nil { // if not, those files are not good yet, or there is no memory
			a.adminClient.Close()
			a.adminClient = next
		}
	}
}

// ListOffsets is that of kafka.AdminClient.
func (a *Admin) ListOffsets(ctx context.Context, of map[kafka.TopicPartition]kafka.OffsetSpec, options ...kafka.ListOffsetsAdminOption) (kafka.ListOffsetsResult, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.AdminClient.ListOffsets(ctx, of, options...)
}

// Describe returns what the cluster knows of these topics; those that are not there have an Error in their description. It
// creates none. It blocks for a few seconds at most when the cluster does not answer, and its error then says why.
func (a *Admin) Describe(ctx context.Context, topics ...string) ([]kafka.TopicDescription, error) {
	a.refresh()
	a.mu.RLock()
	defer a.mu.RUnlock()
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	result, err := a.DescribeTopics(asking, kafka.NewTopicCollectionOfTopicNames(topics), kafka.SetAdminRequestTimeout(askTimeout))
	if err == nil {
		return result.TopicDescriptions, nil
	}
	// The client goes on asking the controller it knows, which may be gone for good. This tells it of another one.
	_, _ = a.GetMetadata(nil, false, int(askTimeout.Milliseconds()/4))
	if reason := a.reason.Load(); reason != nil {
		return nil, *reason
	}
	return nil, err
}

// Await is Describe that waits for the cluster to answer, however long that takes. It logs why it waits when that changes, and not
// more. Its only error is that of ctx.
func (a *Admin) Await(ctx context.Context, log *slog.Logger, topics ...string) ([]kafka.TopicDescription, error) {
	for waiting := kafka.ErrNoError; ; {
		descriptions, err := a.Describe(ctx, topics...)
		if err == nil {
			return descriptions, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("wait for kafka: %w", ctx.Err())
		}
		reason := kafka.ErrFail
		if e := (kafka.Error{}); errors.As(err, &e) {
			reason = e.Code()
		}
		if reason != waiting {
			log.Warn("waiting for kafka", "brokers", a.brokers, "err", err)
		}
		waiting = reason
		pause(ctx)
	}
}

// WaitForTopics blocks until the cluster answers and has all topics, however long that takes. It logs what it waits for when
// that changes, and not more. Its only errors are that of ctx, and that no client could be made: librdkafka refuses the settings, or has no memory.
func WaitForTopics(ctx context.Context, cluster kafkaclient.Cluster, log *slog.Logger, topics ...string) error {
	admin, err := New(cluster)
	if err != nil {
		return err
	}
	defer admin.Close()
	for waiting := ""; ; {
		descriptions, err := admin.Await(ctx, log, topics...)
		if err != nil {
			return err
		}
		missing := strings.Join(Missing(descriptions), ",")
		if missing == "" {
			log.Info("kafka and topics are there", "brokers", admin.brokers, "topics", strings.Join(topics, ","))
			return nil
		}
		if missing != waiting {
			log.Info("waiting for topics", "brokers", admin.brokers, "topics", missing)
		}
		waiting = missing
		pause(ctx)
	}
}

// Missing returns the names of the topics that are not there or cannot be used.
func Missing(descriptions []kafka.TopicDescription) []string {
	var missing []string
	for _, d := range descriptions {
		if d.Error.Code() != kafka.ErrNoError {
			missing = append(missing, d.Name)
		}
	}
	return missing
}

func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(askAgain):
	}
}
