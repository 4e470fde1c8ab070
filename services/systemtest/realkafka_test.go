package systemtest

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"fault-tolerant-tracing/services/internal/verdict"
	"fault-tolerant-tracing/tracing/tracingtest"
)

// newKafkaSystem is newSystem on one node of a real Kafka.
func newKafkaSystem(t *testing.T) *system {
	t.Helper()
	k := startKafka(t, 1, nil)
	return newSystemOn(t, k, k, kafkaPatience)
}

// The article's way to feed the system: a file that Kafka Connect reads.
func TestRealKafkaNoTraceIsLostWhileJaegerIsAway(t *testing.T) {
	t.Parallel()
	s := newKafkaSystem(t)
	s.makeTopics()
	numbers := filepath.Join(t.TempDir(), "numbers.txt")
	connect := startConnect(t, s.broker.Addr())
	connect.register("file-source.json", fileSource, map[string]string{"file": numbers})
	s.write = func(number []byte) { appendLine(t, numbers, number) }
	testJaegerAway(t, s)

	t.Run("the search store", func(t *testing.T) { testStore(t, s, connect) })
}

func TestRealKafkaServicesStartInAnyOrder(t *testing.T) {
	t.Parallel()
	testAnyOrder(t, newKafkaSystem(t))
}

func TestRealKafkaServicesSurviveARestart(t *testing.T) {
	t.Parallel()
	testRestart(t, newKafkaSystem(t))
}

// Kafka is killed while numbers are on their way and stays away for longer than
// every session; spans that come meanwhile wait in the services.
func TestRealKafkaServicesSurviveAMinuteWithoutKafka(t *testing.T) {
	t.Parallel()
	const outage, calls = time.Minute, 100
	s := newKafkaSystem(t)
	s.startAll()
	s.feed(1, 21)
	s.complete()

	s.feed(21, 61)
	s.broker.(*kafkaCluster).Kill()
	over := time.After(outage)
	for range calls {
		response, err := http.Post("http://"+s.addr("random")+"/random", "", nil)
		require.NoError(t, err)
		response.Body.Close()
	}
	<-over
	for _, name := range programs[1:] {
		assert.True(t, s.procs[name].running(), "%s has ended", name)
	}
	require.NoError(t, s.broker.Start())
	back := time.Now()
	s.feed(61, 101)
	s.judged("nothing lost", func(r verdict.Result) bool { return delivered(r) && r.Lost == 0 })
	t.Logf("everything has arrived %s after Kafka was back", time.Since(back).Round(time.Second))
	alone := 0
	for _, span := range tracingtest.SpansOnTopic(t, s.tracing.Addr(), "tracing-topic", calls) {
		if span.Service == "random" && span.ParentID == "" {
			alone++
		}
	}
	assert.Equal(t, calls, alone, "spans of the outage")
	for _, name := range programs[1:] {
		s.stop(name)
	}
}

// Three nodes, everything three times: the loss of one is not noticed, be it the
// one that coordinates the relay's group.
func TestRealKafkaClusterLosesANodeUnderLoad(t *testing.T) {
	t.Parallel()
	k := startKafka(t, 3, nil)
	s := newSystemOn(t, k, k, kafkaPatience)
	s.extra = []string{"TOPIC_REPLICATION=3"}
	s.startAll()
	s.ready(programs[1:]...)
	stop := s.load(1)
	s.arrived(50)

	victim := k.nodes[k.coordinator("tracing-relay")-1]
	victim.proc.kill()
	before := s.answers()
	s.arrived(before + 100)
	t.Logf("%s was killed, and work goes on", victim.proc.name)
	require.NoError(t, k.Start())
	k.whole()
	s.arrived(s.answers() + 20)
	stop()
	s.judged("nothing lost", func(r verdict.Result) bool { return delivered(r) && r.Lost == 0 })
	for _, name := range programs[1:] {
		s.stop(name)
	}
}

// Relays and stream processors come and go while numbers flow.
func TestRealKafkaGroupsRebalance(t *testing.T) {
	t.Parallel()
	s := newKafkaSystem(t)
	s.extra = []string{"GROUP_INSTANCE_ID="} // with a name of its own a member is waited for
	s.startAll()
	stop := s.load(1)
	s.arrived(20)
	for _, n := range []string{"-2", "-3"} {
		s.start("relay" + n)
		s.start("stream" + n)
	}
	s.members("tracing-relay", 3, 6)
	s.members("stream-app", 3, 3)
	s.arrived(s.answers() + 20)
	for _, n := range []string{"", "-2"} {
		s.stop("relay" + n)
		s.stop("stream" + n)
	}
	s.members("tracing-relay", 1, 6)
	s.members("stream-app", 1, 3)
	s.start("relay")
	s.start("stream")
	s.members("tracing-relay", 2, 6)
	s.members("stream-app", 2, 3)
	stop()
	s.judged("nothing lost", func(r verdict.Result) bool { return delivered(r) && r.Lost == 0 })

	last := s.fed[len(s.fed)-1]
	stop = s.load(last + 1)
	s.arrived(s.answers() + 20)
	s.kill("relay-3")
	s.kill("stream-3")
	s.members("tracing-relay", 1, 6)
	s.members("stream-app", 1, 3)
	stop()
	s.judged("all delivered", delivered) // a killed stream takes along the spans of its last second
}

// Spans may have a cluster of their own: while it is away, work goes on.
func TestRealKafkaTracingHasItsOwnCluster(t *testing.T) {
	t.Parallel()
	data, tracing := startKafka(t, 1, nil), startKafka(t, 1, nil)
	s := newSystemOn(t, data, tracing, kafkaPatience)
	s.startAll()
	s.feed(1, 21)
	s.complete()
	tracing.Stop()
	s.feed(21, 41)
	s.arrived(20)
	require.NoError(t, tracing.Start())
	s.feed(41, 61)
	s.judged("nothing lost", func(r verdict.Result) bool { return delivered(r) && r.Lost == 0 })
	for _, b := range []broker{data, tracing} {
		client, err := kgo.NewClient(kgo.SeedBrokers(addresses(b)...))
		require.NoError(t, err)
		defer client.Close()
		topics, err := kadm.NewClient(client).ListTopics(t.Context())
		require.NoError(t, err)
		assert.Equal(t, b == data, topics.Has("number-topic"), "number-topic")
		assert.Equal(t, b == tracing, topics.Has("tracing-topic"), "tracing-topic")
	}
}

// load feeds numbers from a goroutine until the function it returns is called.
func (s *system) load(from int64) (stop func()) {
	done := make(chan struct{})
	var feeding sync.WaitGroup
	feeding.Go(func() {
		ticker := time.NewTicker(50 * time.Millisecond)
		defer ticker.Stop()
		for n := from; ; n++ {
			select {
			case <-done:
				return
			case <-ticker.C:
			}
			ctx, cancel := context.WithTimeout(context.Background(), s.patience)
			err := s.client.ProduceSync(ctx, &kgo.Record{Topic: "number-topic", Value: fmt.Append(nil, n)}).FirstErr()
			cancel()
			if err != nil {
				s.t.Errorf("feed %d: %v", n, err)
				return
			}
			s.fed = append(s.fed, n)
		}
	})
	return func() { close(done); feeding.Wait() }
}

// answers counts the records on answer-topic. It waits while there is nobody to
// ask.
func (s *system) answers() (count int64) {
	s.t.Helper()
	s.eventually("answer-topic tells its ends", func() (string, bool) {
		ends, err := kadm.NewClient(s.client).ListEndOffsets(s.t.Context(), "answer-topic")
		if err == nil {
			err = ends.Error()
		}
		count = 0
		ends.Each(func(o kadm.ListedOffset) { count += o.Offset })
		return fmt.Sprint(err), err == nil
	})
	return count
}

// arrived waits until so many answers are there.
func (s *system) arrived(count int64) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("%d answers", count), func() (string, bool) {
		n := s.answers()
		return fmt.Sprint(n), n >= count
	})
}

// members waits until a group has so many members that all have work, and
// together so many partitions.
func (s *system) members(group string, members, partitions int) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("%d members of %s", members, group), func() (string, bool) {
		groups, err := kadm.NewClient(s.client).DescribeGroups(s.t.Context(), group)
		if err != nil {
			return err.Error(), false
		}
		working, assigned := 0, 0
		for _, m := range groups[group].Members {
			count := 0
			if c, ok := m.Assigned.AsConsumer(); ok {
				for _, t := range c.Topics {
					count += len(t.Partitions)
				}
			}
			if assigned += count; count > 0 {
				working++
			}
		}
		return fmt.Sprintf("%s, %d members, %d working, %d partitions", groups[group].State, len(groups[group].Members), working, assigned),
			working == members && assigned == partitions
	})
}

func appendLine(t *testing.T, file string, line []byte) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteString(string(line) + "\n")
	require.NoError(t, err)
}

// coordinator returns the id of the node that coordinates a group.
func (k *kafkaCluster) coordinator(group string) int32 {
	k.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(addresses(k)...))
	require.NoError(k.t, err)
	defer client.Close()
	found := kadm.NewClient(client).FindGroupCoordinators(k.t.Context(), group)
	require.NoError(k.t, found.Error())
	return found[group].NodeID
}

// whole waits until every partition has all its replicas again.
func (k *kafkaCluster) whole() {
	k.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(addresses(k)...), kgo.MetadataMinAge(100*time.Millisecond))
	require.NoError(k.t, err)
	defer client.Close()
	eventually(k.t, kafkaPatience, "every partition has all its replicas", func() (string, bool) {
		topics, err := kadm.NewClient(client).ListTopicsWithInternal(k.t.Context())
		if err != nil {
			return err.Error(), false
		}
		var lacking []string
		for _, d := range topics {
			for _, p := range d.Partitions {
				if len(p.ISR) != len(k.nodes) {
					lacking = append(lacking, fmt.Sprintf("%s/%d has %d", d.Topic, p.Partition, len(p.ISR)))
				}
			}
		}
		return strings.Join(firstOf(lacking, 5), ", "), len(lacking) == 0
	})
}
