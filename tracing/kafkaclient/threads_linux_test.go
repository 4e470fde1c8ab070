package kafkaclient

import (
	"testing"
	"time"

	"fault-tolerant-tracing/tracing/tracingtest"
	"fault-tolerant-tracing/tracing/tracingtest/threads"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
)

// librdkafka tells that it could not start a thread, and goes on without. Its first thread is its own; without that there is no producer.
func TestAProducerThatCouldNotStartAThreadIsReplaced(t *testing.T) {
	addr := newBroker(t)
	for which, after := range map[string]int{"to itself": 1, "to the broker it is given": 2, "to the broker that this one tells of": 3} {
		t.Run(which, func(t *testing.T) {
			threads.RefuseOne(t, after)
			p := newProducer(t, addr, nil)
			require.EventuallyWithT(t, func(c *assert.CollectT) {
				_, err := p.Send(within(t, 5*time.Second), message("1"))
				assert.NoError(c, err)
				assert.True(c, threads.Refused())
			}, 20*time.Second, 10*time.Millisecond)
		})
	}
}

// Its second thread is a consumer's own.
func TestAConsumerIsNotWaitedForForEver(t *testing.T) {
	cluster := Cluster{Brokers: []string{newBroker(t)}}
	settings := cluster.MemberConfigMap("group", "", 6*time.Second)
	threads.RefuseOne(t, 1)
	_, err := newConsumer(&settings, 3*time.Second)
	require.ErrorIs(t, err, errNotMade)
	assert.True(t, threads.Refused())

	settings = cluster.MemberConfigMap("group", "", 6*time.Second)
	settings["go.logs.channel.enable"] = false
	consumer, err := NewConsumer(&settings)
	require.NoError(t, err, "there is memory again")
	require.NoError(t, consumer.Close())

	settings["group.instance.name"] = ""
	_, err = NewConsumer(&settings)
	var refused kafka.Error
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, kafka.ErrInvalidArg, refused.Code())
}

// It fails before it has taken its place.
func TestAProducerForNewFilesThatCouldNotStartAThreadIsNotUsed(t *testing.T) {
	a := tracingtest.NewAuthority(t)
	files := a.NewPEMFiles(t, time.Now().Add(time.Hour))
	p := startProducer(t, newBroker(t, kfake.TLS(a.ServerTLS(t))), clientOf(files))
	p.insist(t, "1")
	threads.RefuseOne(t, 2)
	a.Renew(t, files, time.Now().Add(time.Hour))
	p.await(t, "replacing")
	p.insist(t, "2")
	assert.True(t, threads.Refused())
}
