package systemtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"fault-tolerant-tracing/services/internal/local"
	"fault-tolerant-tracing/tracing/tracingtest"
)

const (
	kafkaPatience = 4 * time.Minute // two cores, several Java machines, the race detector
	kafkaHeap     = 384             // megabytes
)

// kafkaCluster is Apache Kafka: one process for each node, which is broker and
// controller. Its own listener is without encryption and authentication.
type kafkaCluster struct {
	t     *testing.T
	nodes []*kafkaNode
}

type kafkaNode struct {
	local.KafkaNode
	proc *process
}

// startKafka starts a cluster of so many nodes and returns when all of them
// know each other. extra goes into the properties of each node; its listeners,
// NAME://host:port, are added to the cluster's own.
func startKafka(t *testing.T, nodes int, extra map[string]string, listeners ...string) *kafkaCluster {
	t.Helper()
	needKafka(t)
	binary, err := findJava("java", 17)
	require.NoError(t, err)
	k := &kafkaCluster{t: t}
	var voters []string
	for range nodes {
		voters = append(voters, tracingtest.FreeAddr(t))
	}
	for i := range nodes {
		node := local.KafkaNode{
			Java: java(binary, os.Getenv("KAFKA_JARS"), kafkaHeap), Dir: t.TempDir(), ID: i + 1,
			Addr: tracingtest.FreeAddr(t), Listeners: listeners, Voters: voters, Settings: extra,
		}
		for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
			node.Format = append(node.Format, "--add-scram", fmt.Sprintf(`%s=[name=%s,password="%s"]`, mechanism, scramUser, scramPassword))
		}
		require.NoError(t, node.Prepare())
		k.nodes = append(k.nodes, &kafkaNode{KafkaNode: node})
	}
	t.Cleanup(k.end)
	require.NoError(t, k.Start())
	return k
}

// The user that may log in with SCRAM.
const scramUser, scramPassword = "traces", "s3cret with spaces"

// Addr returns the addresses of all nodes, whether they run or not.
func (k *kafkaCluster) Addr() string {
	var addrs []string
	for _, n := range k.nodes {
		addrs = append(addrs, n.Addr)
	}
	return strings.Join(addrs, ",")
}

// Start starts the nodes that do not run, and returns when every node sees every
// other.
func (k *kafkaCluster) Start() error {
	for i, n := range k.nodes {
		if n.proc == nil || !n.proc.running() {
			name := fmt.Sprintf("kafka-%d", i+1)
			n.proc = startProcess(k.t, name, filepath.Join(n.Dir, "kafka.log"), os.Environ(), n.Command()...)
		}
	}
	begin := time.Now()
	for _, n := range k.nodes {
		if err := k.await(n); err != nil {
			return err
		}
	}
	k.t.Logf("kafka, %d node(s), is there after %s", len(k.nodes), time.Since(begin).Round(100*time.Millisecond))
	return nil
}

// await returns when a node knows of all nodes.
func (k *kafkaCluster) await(n *kafkaNode) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(n.Addr), kgo.RetryTimeout(time.Second))
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	eventually(k.t, kafkaPatience, n.proc.name+" knows of all nodes", func() (string, bool) {
		if !n.proc.running() {
			k.t.Fatalf("%s has ended by itself", n.proc.name)
		}
		ctx, cancel := context.WithTimeout(k.t.Context(), 5*time.Second)
		defer cancel()
		known, err := admin.ListBrokers(ctx)
		return fmt.Sprint(known, err), err == nil && len(known) == len(k.nodes)
	})
	return nil
}

// Stop asks all nodes to end and returns when they have.
func (k *kafkaCluster) Stop() {
	k.t.Helper()
	var stopping sync.WaitGroup
	for _, n := range k.nodes {
		stopping.Go(func() { n.proc.terminate(k.t, time.Minute) })
	}
	stopping.Wait()
}

// Kill ends all nodes at once.
func (k *kafkaCluster) Kill() {
	for _, n := range k.nodes {
		n.proc.kill()
	}
}

func (k *kafkaCluster) end() {
	for _, n := range k.nodes {
		if n.proc != nil {
			n.proc.bury(k.t)
		}
	}
}
