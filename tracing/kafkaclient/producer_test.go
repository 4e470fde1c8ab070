package kafkaclient

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"fault-tolerant-tracing/tracing/tracingtest"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// librdkafka does not end the making of a consumer that has no thread: see NewConsumer.
	tracingtest.VerifyMain(m, goleak.IgnoreAnyFunction("fault-tolerant-tracing/tracing/kafkaclient.newConsumer.func1"))
}

const topic = "numbers"

func message(value string) *kafka.Message {
	name := topic
	return &kafka.Message{
		TopicPartition: kafka.TopicPartition{Topic: &name, Partition: kafka.PartitionAny},
		Value:          []byte(value),
	}
}

func newProducer(t *testing.T, broker string, extra kafka.ConfigMap) *Producer {
	t.Helper()
	p, err := NewProducer(Cluster{Brokers: []string{broker}}, slog.New(slog.DiscardHandler), extra)
	require.NoError(t, err)
	t.Cleanup(func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = p.Close(ended)
	})
	return p
}

func newBroker(t *testing.T, opts ...kfake.Opt) string {
	t.Helper()
	b, err := kfake.NewCluster(append(opts, kfake.NumBrokers(1), kfake.SeedTopics(1, topic))...)
	require.NoError(t, err)
	t.Cleanup(b.Close)
	return b.ListenAddrs()[0]
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestANilLoggerIsTheDefault(t *testing.T) {
	p, err := NewProducer(Cluster{Brokers: []string{newBroker(t)}}, nil, nil)
	require.NoError(t, err)
	p.log.Debug("goes somewhere")
	assert.NoError(t, p.Close(within(t, 20*time.Second)))

	lines := make(chan kafka.LogEvent, 1)
	lines <- kafka.LogEvent{Level: 7, Message: "goes somewhere"}
	close(lines)
	ForwardLogs(lines, nil)
}

func TestSendReportsPartitionAndOffset(t *testing.T) {
	p := newProducer(t, newBroker(t), nil)
	for want := range 3 {
		tp, err := p.Send(within(t, 10*time.Second), message("7"))
		require.NoError(t, err)
		assert.Equal(t, int32(0), tp.Partition)
		assert.Equal(t, kafka.Offset(want), tp.Offset)
		assert.Equal(t, topic, *tp.Topic)
	}
}

func TestProducerIsPatientUnlessToldOtherwise(t *testing.T) {
	p := newProducer(t, "127.0.0.1:1", kafka.ConfigMap{"message.timeout.ms": 1000})
	assert.Equal(t, 1000, p.conf["message.timeout.ms"])
	p = newProducer(t, "127.0.0.1:1", nil)
	assert.Equal(t, 0, p.conf["message.timeout.ms"], "never")
	assert.Equal(t, 32*1024, p.conf["queue.buffering.max.kbytes"], "32 MiB")
}

func TestAMessageWaitsForItsTopic(t *testing.T) {
	b, err := kfake.NewCluster(kfake.NumBrokers(1))
	require.NoError(t, err)
	t.Cleanup(b.Close)
	asked := make(chan struct{}, 1000)
	b.ControlKey(int16(kmsg.Metadata), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.KeepControl()
		asked <- struct{}{}
		return nil, nil, false
	})
	p := newProducer(t, b.ListenAddrs()[0], nil)
	sent := make(chan error, 1)
	go func() {
		_, err := p.Send(within(t, 20*time.Second), message("1"))
		sent <- err
	}()
	for range 5 {
		select {
		case <-asked:
		case err := <-sent:
			t.Fatal("it did not wait: ", err)
		}
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(b.ListenAddrs()...))
	require.NoError(t, err)
	defer client.Close()
	_, err = kadm.NewClient(client).CreateTopic(t.Context(), 1, 1, nil, topic)
	require.NoError(t, err)
	assert.NoError(t, <-sent)
}

// A broker that gets a partition may refuse the first of two requests and take the
// second: kfake does if it is of a version before Kafka's KAFKA-15591 was mended.
func TestARequestThatIsRefusedIsNotOvertaken(t *testing.T) {
	b, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, topic), kfake.MaxVersions(kversion.V4_0_0()))
	require.NoError(t, err)
	t.Cleanup(b.Close)
	first := make(chan struct{})
	b.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		close(first)
		b.SleepControl(func() { time.Sleep(time.Second) }) // in which a second request would get ready behind this one
		answer := r.ResponseKind().(*kmsg.ProduceResponse)
		for _, rt := range r.(*kmsg.ProduceRequest).Topics {
			partition := kmsg.NewProduceResponseTopicPartition()
			partition.Partition, partition.ErrorCode = rt.Partitions[0].Partition, kerr.NotLeaderForPartition.Code
			answer.Topics = append(answer.Topics, kmsg.ProduceResponseTopic{
				Topic: rt.Topic, TopicID: rt.TopicID, Partitions: []kmsg.ProduceResponseTopicPartition{partition},
			})
		}
		return answer, nil, true
	})

	p := newProducer(t, b.ListenAddrs()[0], nil)
	sent := make(chan error, 2)
	send := func(value string) {
		_, err := p.Send(within(t, 20*time.Second), message(value))
		sent <- err
	}
	go send("1")
	<-first
	go send("2")
	require.NoError(t, <-sent)
	require.NoError(t, <-sent)

	client, err := kgo.NewClient(kgo.SeedBrokers(b.ListenAddrs()...), kgo.ConsumeTopics(topic))
	require.NoError(t, err)
	defer client.Close()
	for _, want := range []string{"1", "2"} {
		fetches := client.PollRecords(within(t, 20*time.Second), 1)
		require.NoError(t, fetches.Err())
		require.Equal(t, want, string(fetches.Records()[0].Value))
	}
}

// Another topic of the same name has its first leaders again, which librdkafka takes for
// outdated news of the old one.
func TestATopicThatIsMadeAnewElsewhereIsFound(t *testing.T) {
	t.Parallel()
	b, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.SeedTopics(1, topic))
	require.NoError(t, err)
	t.Cleanup(b.Close)
	p := newProducer(t, b.ListenAddrs()[0], nil)
	send := func(value string) error {
		_, err := p.Send(within(t, 3*stallAfter), message(value))
		return err
	}
	for node := range int32(3) { // three times a new leader
		require.NoError(t, b.MoveTopicPartition(topic, 0, node))
		require.NoError(t, send("1"))
	}
	require.NoError(t, b.MoveTopicPartition(topic, 0, 0))
	require.NoError(t, send("1"))

	client, err := kgo.NewClient(kgo.SeedBrokers(b.ListenAddrs()...))
	require.NoError(t, err)
	defer client.Close()
	admin := kadm.NewClient(client)
	_, err = admin.DeleteTopic(t.Context(), topic)
	require.NoError(t, err)
	_, err = admin.CreateTopic(t.Context(), 1, 1, nil, topic)
	require.NoError(t, err)
	require.NoError(t, b.MoveTopicPartition(topic, 0, 1))
	require.True(t, hasCode(send("2"), kafka.ErrQueueFull), "the message that was on its way fails, to be sent again")
	require.NoError(t, send("2"))
}

// A client knows brokers by the addresses that they tell, and may forget where it began.
func TestABrokerThatWasAtAWrongAddressIsFoundAgain(t *testing.T) {
	t.Parallel()
	const (
		nowhere = "127.0.0.1:1"
		wrong   = 12 * time.Second // how long it is: after less librdkafka still asks where it began
	)
	addr, dir := tracingtest.FreeAddr(t), t.TempDir()
	begin := func(advertised string) *tracingtest.Broker {
		b, err := tracingtest.NewBroker(addr, dir, kfake.SeedTopics(1, topic), tracingtest.Advertise(addr, advertised))
		require.NoError(t, err)
		t.Cleanup(b.Stop)
		return b
	}
	b := begin(addr)
	var producers []*Producer
	ended := make(chan struct{})
	var traffic sync.WaitGroup
	defer func() {
		close(ended)
		traffic.Wait()
		for _, p := range producers {
			_ = p.Close(within(t, 0))
		}
	}()
	for range 4 {
		p, err := NewProducer(Cluster{Brokers: []string{addr}, RefreshInterval: 2 * time.Second}, slog.New(slog.DiscardHandler), nil)
		require.NoError(t, err)
		producers = append(producers, p)
		_, err = p.Send(within(t, 10*time.Second), message("1"))
		require.NoError(t, err)
		traffic.Go(func() {
			for tick := time.Tick(50 * time.Millisecond); ; {
				select {
				case <-tick:
					_ = p.Produce(message("2"), func(kafka.TopicPartition, error) {})
				case <-ended:
					return
				}
			}
		})
	}
	b.Stop()
	b = begin(nowhere)
	time.Sleep(wrong)
	b.Stop()
	begin(addr)
	for _, p := range producers {
		_, err := p.Send(within(t, 60*time.Second), message("3"))
		require.NoError(t, err)
	}
}

func TestProducerSurvivesFatalError(t *testing.T) {
	p := newProducer(t, newBroker(t), nil)
	_, err := p.Send(within(t, 10*time.Second), message("1"))
	require.NoError(t, err)
	p.current.kp.TestFatalError(kafka.ErrOutOfOrderSequenceNumber, "made up")
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		_, err := p.Send(within(t, 10*time.Second), message("2"))
		assert.NoError(c, err)
	}, 10*time.Second, 10*time.Millisecond)
}

func TestFatalErrorFailsWhatIsInFlight(t *testing.T) {
	p := newProducer(t, "127.0.0.1:1", nil)
	reports := make(chan error, 10)
	for range 10 {
		require.NoError(t, p.Produce(message("1"), func(_ kafka.TopicPartition, err error) { reports <- err }))
	}
	p.current.kp.TestFatalError(kafka.ErrOutOfOrderSequenceNumber, "made up")
	for range 10 {
		select {
		case err := <-reports:
			require.Error(t, err)
		case <-time.After(10 * time.Second):
			t.Fatal("no report")
		}
	}
}

func TestCloseWhileBeingReplaced(t *testing.T) {
	p := newProducer(t, "127.0.0.1:1", nil)
	reports := make(chan error, 1)
	require.NoError(t, p.Produce(message("1"), func(_ kafka.TopicPartition, err error) { reports <- err }))
	p.fail(p.current, kafka.NewError(kafka.ErrFatal, "made up", true))
	require.NoError(t, p.Close(within(t, 10*time.Second)))
	assert.ErrorContains(t, <-reports, "made up")
	assert.ErrorIs(t, p.Produce(message("2"), nil), ErrClosed)
}

func TestCloseFailsWhatCannotBeDelivered(t *testing.T) {
	p := newProducer(t, "127.0.0.1:1", nil)
	reports := make(chan error, 2)
	for range 2 {
		require.NoError(t, p.Produce(message("1"), func(_ kafka.TopicPartition, err error) { reports <- err }))
	}
	err := p.Close(within(t, 50*time.Millisecond))
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.ErrorContains(t, err, "2 messages")
	require.Len(t, reports, 2)
	assert.ErrorIs(t, <-reports, ErrClosed)
	assert.Equal(t, err, p.Close(context.Background()), "closing again returns the same")
	assert.ErrorIs(t, p.Produce(message("1"), nil), ErrClosed)
}

func TestSendEndsWithItsContext(t *testing.T) {
	p := newProducer(t, "127.0.0.1:1", nil)
	_, err := p.Send(within(t, 50*time.Millisecond), message("1"))
	assert.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestSendWaitsWhileTheQueueIsFull(t *testing.T) {
	p := newProducer(t, "127.0.0.1:1", kafka.ConfigMap{"queue.buffering.max.messages": 1})
	require.NoError(t, p.Produce(message("1"), func(kafka.TopicPartition, error) {}))
	require.True(t, hasCode(p.Produce(message("2"), nil), kafka.ErrQueueFull))
	_, err := p.Send(within(t, 50*time.Millisecond), message("2"))
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.ErrorContains(t, err, "queue is full")
}
