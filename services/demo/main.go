// Command demo runs the whole system on one machine, without Docker: an embedded Kafka broker, the real Jaeger and every service
// as a process of its own. It feeds numbers, takes Jaeger away while more numbers flow, brings it back, and says whether a span was
// lost.
//
// It reads data/numbers.txt and keeps everything else in .demo/ of the repository, cleaned at each start: logs, the broker's data,
// the traces. What it starts ends with it, however it ends: each child runs under a supervisor that stops it as soon as the demo
// is gone.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"fault-tolerant-tracing/services/internal/service"
	"fault-tolerant-tracing/tracing"
)

// Exit codes besides 0.
const (
	exitFailed      = 1   // the verdict, or something did not work
	exitInterrupted = 130 // Ctrl-C before the verdict
)

func main() { os.Exit(run(os.Args[1:])) }

// run executes the command line and returns the exit code.
func run(args []string) int {
	code := 0
	root := demoCommand(&code)
	root.AddCommand(superviseCommand(&code))
	root.SetArgs(args)
	if err := root.Execute(); err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		return exitFailed
	}
	return code
}

func demoCommand(code *int) *cobra.Command {
	transport, to := tracing.Kafka, otlp
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the whole system through an outage of Jaeger and say what was lost",
		Long: `Run the whole system on this machine, without Docker, through an outage of Jaeger:
data flows; Jaeger is stopped while more numbers flow; Jaeger is started again;
then each span that should be in Jaeger is looked for there.

With --transport kafka the services write their spans to a Kafka topic and the relay
carries them to Jaeger: exit code 0 if nothing was lost, else 1. With --transport direct
they send them straight to Jaeger, to see what that loses: exit code 0 if something was.
The relay sends Jaeger OTLP, with --collector thrift each batch as it is, as the article
does.

On a terminal the demo then stays up for a look around, until Ctrl-C. It needs the
programs that "make build" puts into bin/.`,
		Version:       service.Version,
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(*cobra.Command, []string) error {
			var err error
			*code, err = tell(transport, to)
			return err
		},
	}
	cmd.CompletionOptions.DisableDefaultCmd = true
	cmd.SetHelpCommand(&cobra.Command{Hidden: true})
	cmd.Flags().TextVar(&transport, "transport", tracing.Kafka, "the way of the spans, `kafka|direct`")
	cmd.Flags().TextVar(&to, "collector", otlp, "what the relay speaks to Jaeger, `otlp|thrift`")
	return cmd
}

func superviseCommand(code *int) *cobra.Command {
	return &cobra.Command{
		Use:    "supervise -- command [argument...]",
		Short:  "Run one command until standard input ends",
		Hidden: true, // the demo itself starts its children with it
		Args:   cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			var err error
			*code, err = supervise(context.Background(), args, os.Stdin, stopGrace)
			return err
		},
	}
}

// tell runs the story in the repository that the program lies in (bin/demo) and returns the exit code.
func tell(transport tracing.Kind, to collector) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return exitFailed, fmt.Errorf("find the repository: %w", err)
	}
	// A closed terminal ends the demo as Ctrl-C does. A second signal ends it at once; the supervisors then do the rest.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop)

	root := filepath.Dir(filepath.Dir(self))
	d := &demo{
		transport:  transport,
		collector:  to,
		root:       root,
		work:       filepath.Join(root, ".demo"),
		supervisor: []string{self, "supervise", "--"},
		ports:      defaultPorts,
		screen:     newScreen(os.Stdout),
		stay:       term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd())),
	}
	return d.run(ctx)
}
