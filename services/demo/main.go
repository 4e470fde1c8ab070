// Command demo runs the whole system on one machine, without Docker: a small Kafka broker, the real Jaeger and every service, each
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

	"fault-tolerant-tracing/services/internal/local"
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
	root.AddCommand(local.SuperviseCommand(&code), local.BrokerCommand())
	root.AddCommand(commands(&code)...)
	root.SetArgs(args)
	if err := root.Execute(); err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		return exitFailed
	}
	return code
}

func demoCommand(code *int) *cobra.Command {
	transport, to, stay := tracing.Kafka, otlp, false
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

On a terminal, or with --stay, the demo then stays up until Ctrl-C: the commands below stop
and start Jaeger and Kafka, kill any part, send numbers and count again. Whatever ends then, by a
command or otherwise, is started again, unless it was stopped by a command.

It needs the programs that "make build" puts into bin/, and passes on LOG_LEVEL of the
environment to the services and no other setting.`,
		Version:       service.Version,
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(*cobra.Command, []string) error {
			d, err := newDemo()
			if err != nil {
				return err
			}
			d.transport, d.collector, d.stay = transport, to, stay
			*code, err = start(d)
			return err
		},
	}
	cmd.CompletionOptions.DisableDefaultCmd = true
	cmd.SetHelpCommand(&cobra.Command{Hidden: true})
	cmd.Flags().TextVar(&transport, "transport", tracing.Kafka, "the way of the spans, `kafka|direct`")
	cmd.Flags().TextVar(&to, "collector", otlp, "what the relay speaks to Jaeger, `otlp|thrift`")
	cmd.Flags().BoolVar(&stay, "stay", onTerminal(), "stay up after the verdict, until Ctrl-C; the default on a terminal")
	return cmd
}

// newDemo is the demo of the repository that the program lies in (bin/demo).
func newDemo() (*demo, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the repository: %w", err)
	}
	root := filepath.Dir(filepath.Dir(self))
	return &demo{
		root:       root,
		work:       filepath.Join(root, ".demo"),
		supervisor: []string{self, "supervise", "--"},
		broker:     []string{self, "broker"},
		ports:      defaultPorts,
		screen:     newScreen(os.Stdout),
	}, nil
}

// start runs the demo and returns the exit code. A closed terminal ends it as Ctrl-C does. A second signal ends it at once; the
// supervisors then do the rest.
func start(d *demo) (int, error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop)
	return d.run(ctx)
}

func onTerminal() bool {
	return term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd()))
}
