package local

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kfake"

	"fault-tolerant-tracing/tracing/tracingtest"
)

// BrokerCommand is "broker ADDRESS FOLDER [ADVERTISED]": a small Kafka broker, a process of its own. It tells its clients that it is
// at the last one.
func BrokerCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "broker ADDRESS FOLDER [ADVERTISED]",
		Short:  "Run the Kafka broker, with what it keeps in a folder, until SIGTERM",
		Hidden: true, // the program itself starts it
		Args:   cobra.RangeArgs(2, 3),
		RunE: func(_ *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
			defer stop()
			advertised := args[0]
			if len(args) > 2 {
				advertised = args[2]
			}
			return runBroker(ctx, args[0], args[1], advertised)
		},
	}
}

// runBroker runs a broker until ctx ends. What it has acknowledged is there again for the next one with the same folder, however
// this one ends.
func runBroker(ctx context.Context, address, folder, advertised string) error {
	broker, err := tracingtest.NewBroker(address, folder, tracingtest.Advertise(address, advertised),
		kfake.WithLogger(kfake.BasicLogger(os.Stderr, kfake.LogLevelWarn)))
	if err != nil {
		return err
	}
	slog.Info("listening", "address", address)
	<-ctx.Done()
	broker.Stop()
	slog.Info("stopped")
	return nil
}
