// Command bench measures how fast spans reach Jaeger: posted straight to its
// collector, carried by the relay, and read by Jaeger's own ingester, side by
// side in one run; how fast the relay is by itself; how long a span is on its way;
// and how soon spans arrive after an outage.
//
// It starts Apache Kafka from the jars that KAFKA_JARS names (services/systemtest/jars/with)
// and, for each measurement, a fresh Jaeger, a relay, a client: all of them
// processes of their own, on 127.0.0.1, which end with it. Nothing else should
// run on the machine. Progress goes to standard error, the tables to standard
// output.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"

	"github.com/spf13/cobra"

	"fault-tolerant-tracing/services/internal/service"
)

// Exit codes besides 0.
const (
	exitFailed      = 1
	exitInterrupted = 130
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once

	root := benchCommand()
	root.AddCommand(postCommand(), sinkCommand(), clientCommand())
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	switch {
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "bench: interrupted")
		return exitInterrupted
	case err != nil:
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		return exitFailed
	}
	return 0
}

func benchCommand() *cobra.Command {
	b := &bench{progress: os.Stderr}
	only, beside := "", ""
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure how fast spans reach Jaeger, by the relay and in other ways",
		Long: `Measure how fast spans reach Jaeger, side by side in one run: posted straight to its
collector (direct-SPANS-CONNECTIONS), carried from Kafka by the relay (relay-SPANS) and read
from Kafka by Jaeger's own ingester (ingester-SPANS, ingester-after-SPANS); and how fast the
relay is by itself, with a collector that only answers 202 (ceiling-SPANS-RELAYS). SPANS is
the number of spans in a batch, 9 or 100. Then, once: how long a span takes from its end to
Jaeger's answer (latency), and how soon after an outage of Jaeger the first one is delivered
(recovery).

It needs the programs that "make build" puts into bin/, Java, and KAFKA_JARS, the folder with
the jars of Apache Kafka: "make bench" sees to both.`,
		Version:       service.Version,
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if b.only, err = regexp.Compile(only); err != nil {
				return fmt.Errorf("--only: %w", err)
			}
			return b.tell(cmd.Context(), beside)
		},
	}
	cmd.CompletionOptions.DisableDefaultCmd = true
	cmd.SetHelpCommand(&cobra.Command{Hidden: true})
	cmd.Flags().IntVar(&b.rounds, "rounds", 3, "how often everything is measured, in turn")
	cmd.Flags().StringVar(&only, "only", "", "measure only what this `regexp` matches: relay-9, ceiling, …")
	cmd.Flags().StringVar(&beside, "relay", "", "measure the relay at this `path`, of another commit, side by side with bin/relay")
	cmd.Flags().StringVar(&b.profiles, "profile", "", "write CPU profiles of relay and Jaeger into this `folder`; slows them down a little")
	return cmd
}

// tell runs the benchmark in the repository that the program lies in (bin/bench)
// and prints the tables. The relay at the path beside, if there is one, is measured too.
func (b *bench) tell(ctx context.Context, beside string) error {
	if b.rounds < 1 {
		return fmt.Errorf("--rounds %d: must be at least 1", b.rounds)
	}
	if b.jars = os.Getenv("KAFKA_JARS"); b.jars == "" {
		return errors.New("KAFKA_JARS must name the folder with the jars of Apache Kafka: make bench sees to it")
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the repository: %w", err)
	}
	b.root = filepath.Dir(filepath.Dir(self))
	b.work = filepath.Join(b.root, ".bench")
	b.programs = []program{{path: filepath.Join(b.root, "bin", "relay")}}
	if beside != "" {
		b.programs = append(b.programs, program{path: beside, note: " (" + beside + ")"})
	}
	facts := machine(b.root, b.jars)
	b.say("%s", facts)
	done, tables, err := b.run(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("%s; %d rounds\n\n", facts, b.rounds)
	return writeTables(os.Stdout, done, tables)
}
