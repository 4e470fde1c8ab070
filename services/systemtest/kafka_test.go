package systemtest

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

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
	java  []string
	nodes []*kafkaNode
}

type kafkaNode struct {
	addr   string
	dir    string
	config string // name of the file
	proc   *process
}

// startKafka starts a cluster of so many nodes and returns when all of them
// know each other. extra goes into the properties of each node; its listeners,
// NAME://host:port, are added to the cluster's own.
func startKafka(t *testing.T, nodes int, extra map[string]string, listeners ...string) *kafkaCluster {
	t.Helper()
	needKafka(t)
	binary, err := findJava("java", 17)
	require.NoError(t, err)
	k := &kafkaCluster{t: t, java: java(binary, os.Getenv("KAFKA_JARS"), kafkaHeap)}
	var voters []string
	for i := range nodes {
		dir := t.TempDir()
		k.nodes = append(k.nodes, &kafkaNode{addr: tracingtest.FreeAddr(t), dir: dir, config: filepath.Join(dir, "server.properties")})
		voters = append(voters, fmt.Sprintf("%d@%s", i+1, tracingtest.FreeAddr(t)))
	}
	for i, n := range k.nodes {
		_, controller, _ := strings.Cut(voters[i], "@")
		public := append([]string{"PLAIN://" + n.addr}, listeners...)
		config := map[string]string{
			"process.roles":                            "broker,controller",
			"node.id":                                  fmt.Sprint(i + 1),
			"controller.quorum.voters":                 strings.Join(voters, ","),
			"controller.listener.names":                "CONTROLLER",
			"listeners":                                strings.Join(append(public, "CONTROLLER://"+controller), ","),
			"advertised.listeners":                     strings.Join(public, ","),
			"inter.broker.listener.name":               "PLAIN",
			"listener.security.protocol.map":           "PLAIN:PLAINTEXT,CONTROLLER:PLAINTEXT",
			"log.dirs":                                 filepath.Join(n.dir, "data"),
			"auto.create.topics.enable":                "false",
			"offsets.topic.num.partitions":             "10",
			"offsets.topic.replication.factor":         fmt.Sprint(nodes),
			"transaction.state.log.num.partitions":     "1",
			"transaction.state.log.replication.factor": fmt.Sprint(nodes),
			"transaction.state.log.min.isr":            fmt.Sprint(nodes/2 + 1),
			"min.insync.replicas":                      fmt.Sprint(nodes/2 + 1),
		}
		maps.Copy(config, extra)
		writeProperties(t, n.config, config)
		k.format(n)
	}
	t.Cleanup(k.end)
	require.NoError(t, k.Start())
	return k
}

func writeProperties(t *testing.T, file string, properties map[string]string) {
	t.Helper()
	var text strings.Builder
	for _, key := range slices.Sorted(maps.Keys(properties)) {
		fmt.Fprintf(&text, "%s=%s\n", key, properties[key])
	}
	require.NoError(t, os.WriteFile(file, []byte(text.String()), 0o600))
}

// The user that may log in with SCRAM.
const scramUser, scramPassword = "traces", "s3cret with spaces"

// format prepares the storage of a node.
func (k *kafkaCluster) format(n *kafkaNode) {
	k.t.Helper()
	args := append(slices.Clone(k.java), "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "kafka.tools.StorageTool", "format", "--config", n.config, "--cluster-id", "MkU3OEVBNTcwNTJENDM2Qg")
	for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
		args = append(args, "--add-scram", fmt.Sprintf(`%s=[name=%s,password="%s"]`, mechanism, scramUser, scramPassword))
	}
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	require.NoError(k.t, err, "format the storage of Kafka: %s", out)
}

// Addr returns the addresses of all nodes, whether they run or not.
func (k *kafkaCluster) Addr() string {
	var addrs []string
	for _, n := range k.nodes {
		addrs = append(addrs, n.addr)
	}
	return strings.Join(addrs, ",")
}

// Start starts the nodes that do not run, and returns when every node sees every
// other.
func (k *kafkaCluster) Start() error {
	for i, n := range k.nodes {
		if n.proc == nil || !n.proc.running() {
			name := fmt.Sprintf("kafka-%d", i+1)
			command := append(slices.Clone(k.java), "kafka.Kafka", n.config)
			n.proc = startProcess(k.t, name, filepath.Join(n.dir, "kafka.log"), os.Environ(), command...)
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
	client, err := kgo.NewClient(kgo.SeedBrokers(n.addr), kgo.RetryTimeout(time.Second))
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
