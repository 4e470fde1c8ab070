package local

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// KafkaNode is one node of Apache Kafka, broker and controller.
type KafkaNode struct {
	Java      []string          // runs a class of Kafka: see [Java]
	Dir       string            // of the node: its configuration and data; made if needed
	ID        int               // from 1 on
	Addr      string            // where it listens, without encryption and log-in
	Listeners []string          // where else, NAME://host:port
	Voters    []string          // the addresses for controllers of all nodes, in the order of their ids
	Settings  map[string]string // besides
	Format    []string          // arguments for the preparation of the storage, besides
}

// Prepare writes the configuration, and prepares the folder for the data. It blocks for some seconds.
func (n KafkaNode) Prepare() error {
	if err := os.MkdirAll(n.Dir, 0o755); err != nil {
		return fmt.Errorf("prepare Kafka: %w", err)
	}
	if err := os.WriteFile(n.config(), []byte(n.properties()), 0o600); err != nil {
		return fmt.Errorf("prepare Kafka: %w", err)
	}
	command := append(slices.Clone(n.Java), "kafka.tools.StorageTool", "format", "--config", n.config(), "--cluster-id", "MkU3OEVBNTcwNTJENDM2Qg")
	command = append(command, n.Format...)
	format := exec.Command(command[0], command[1:]...)
	format.Env = JavaEnvironment()
	if out, err := format.CombinedOutput(); err != nil {
		return fmt.Errorf("prepare the storage of Kafka: %w: %s", err, out)
	}
	return nil
}

// Command runs the node, until SIGTERM, with other settings, NAME=VALUE, than are in its configuration.
func (n KafkaNode) Command(settings ...string) []string {
	command := append(slices.Clone(n.Java), "kafka.Kafka", n.config())
	for _, setting := range settings {
		command = append(command, "--override", setting)
	}
	return command
}

// JavaEnvironment is what a node has to see.
func JavaEnvironment() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "JAVA_HOME=" + os.Getenv("JAVA_HOME")}
}

func (n KafkaNode) config() string { return filepath.Join(n.Dir, "server.properties") }

func (n KafkaNode) properties() string {
	var voters []string
	for i, addr := range n.Voters {
		voters = append(voters, fmt.Sprintf("%d@%s", i+1, addr))
	}
	public := strings.Join(append([]string{"PLAIN://" + n.Addr}, n.Listeners...), ",")
	replicas, enough := fmt.Sprint(len(voters)), fmt.Sprint(len(voters)/2+1)
	settings := map[string]string{
		"process.roles":                            "broker,controller",
		"node.id":                                  fmt.Sprint(n.ID),
		"controller.quorum.voters":                 strings.Join(voters, ","),
		"controller.listener.names":                "CONTROLLER",
		"listeners":                                public + ",CONTROLLER://" + n.Voters[n.ID-1],
		"advertised.listeners":                     public,
		"inter.broker.listener.name":               "PLAIN",
		"listener.security.protocol.map":           "PLAIN:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"log.dirs":                                 filepath.Join(n.Dir, "data"),
		"auto.create.topics.enable":                "false",
		"min.insync.replicas":                      enough,
		"offsets.topic.num.partitions":             "10",
		"offsets.topic.replication.factor":         replicas,
		"transaction.state.log.num.partitions":     "1",
		"transaction.state.log.replication.factor": replicas,
		"transaction.state.log.min.isr":            enough,
	}
	maps.Copy(settings, n.Settings)
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&text, "%s=%s\n", name, settings[name])
	}
	return text.String()
}

// Java is the command that runs a class of Kafka from the folder of jars that services/systemtest/jars/with fetches, with so much
// heap, such as "384m".
func Java(jars, heap string) []string {
	java := "java"
	if home := os.Getenv("JAVA_HOME"); home != "" {
		java = filepath.Join(home, "bin", "java")
	}
	return []string{java, "-Xmx" + heap, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", filepath.Join(jars, "*")}
}
