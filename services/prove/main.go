// Command prove runs the whole system on one machine, without Docker, under every fault that it can make, and says fault by fault
// whether a span was lost.
//
// It starts what the demo starts, and clients of both kinds besides, each as a process of its own; lets numbers and spans flow; kills,
// stops and freezes the processes, spoils what Jaeger answers, and writes poison to the topics, one fault after the other and then
// several at a time, in an order that a seed decides; lets everything recover; and compares all that was sent with what is in Jaeger.
// "prove contrast" lets such faults happen to other ways of carrying spans, beside the relay.
// It keeps everything in .prove/ of the repository, cleaned at each start: the tables, logs, data. What it starts ends with it, however
// it ends.
package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"fault-tolerant-tracing/services/internal/local"
	"fault-tolerant-tracing/services/internal/service"
)

// Exit codes besides 0.
const (
	exitFailed      = 1 // something was lost, or did not work
	exitInterrupted = 130
)

func main() { os.Exit(run(os.Args[1:])) }

// run executes the command line and returns the exit code.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once; the supervisors then do the rest
	code := 0
	root := proveCommand()
	root.AddCommand(local.SuperviseCommand(&code), local.BrokerCommand(), clientCommand(), contrastCommand())
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	switch {
	case errors.Is(err, errInterrupted):
		fmt.Fprintln(os.Stderr, "prove: interrupted")
		return exitInterrupted
	case err != nil:
		fmt.Fprintf(os.Stderr, "prove: %v\n", err)
		return exitFailed
	}
	return code
}

// kafkaKind is what Kafka is.
type kafkaKind string

const (
	embedded  kafkaKind = "embedded"
	realKafka kafkaKind = "real"
)

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *kafkaKind) UnmarshalText(text []byte) error {
	switch *k = kafkaKind(text); *k {
	case embedded, realKafka:
		return nil
	}
	return fmt.Errorf("want %s or %s", embedded, realKafka)
}

// MarshalText implements encoding.TextMarshaler.
func (k kafkaKind) MarshalText() ([]byte, error) { return []byte(k), nil }

// repository tells where this program is, and the repository in whose bin/ that is.
func repository() (self, root string, err error) {
	self, err = os.Executable()
	if err != nil {
		return "", "", fmt.Errorf("find the repository: %w", err)
	}
	return self, filepath.Dir(filepath.Dir(self)), nil
}

func proveCommand() *cobra.Command {
	var seed uint64
	duration, broker := 10*time.Minute, embedded
	cmd := &cobra.Command{
		Use:   "prove",
		Short: "Run the whole system under every fault, and say whether a span was lost",
		Long: `Run the whole system on this machine, without Docker, under load, and under one fault after
the other: Jaeger, the relay, Kafka and each service are stopped, killed and frozen, answers of
Jaeger are spoiled, poison lies on the topics. Then several faults at a time. Then everything
recovers, and every span that was sent is looked up in Jaeger, and compared field by field.

It prints a table of all faults and leaves it in .prove/, as table.md and result.json. Exit
code 0 if nothing was lost or changed, else 1.

It needs the programs that "make build" puts into bin/, and with --kafka real also Java, and
KAFKA_JARS, the folder with the jars of Apache Kafka: "make prove KAFKA=real" sees to both.`,
		Version:       service.Version,
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("seed") {
				seed = rand.Uint64N(1_000_000)
			}
			if duration < time.Minute {
				return fmt.Errorf("--duration %s: want at least 1m", duration)
			}
			self, root, err := repository()
			if err != nil {
				return err
			}
			jars := ""
			if broker == realKafka {
				if jars = os.Getenv("KAFKA_JARS"); jars == "" {
					return errors.New("KAFKA_JARS must name the folder with the jars of Apache Kafka: make prove KAFKA=real sees to it")
				}
			}
			return newProof(self, root, filepath.Join(root, ".prove"), jars, seed, duration).run(cmd.Context())
		},
	}
	cmd.CompletionOptions.DisableDefaultCmd = true
	cmd.SetHelpCommand(&cobra.Command{Hidden: true})
	cmd.Flags().Uint64Var(&seed, "seed", 0, "decides the order of the faults and all that is random in them; default a new one")
	cmd.Flags().TextVar(&broker, "kafka", embedded, "what Kafka is, a small broker or three nodes of Apache Kafka: `embedded|real`")
	cmd.Flags().DurationVar(&duration, "duration", duration, "how long faults go on")
	return cmd
}
