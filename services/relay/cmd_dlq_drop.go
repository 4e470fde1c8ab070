package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"

	"fault-tolerant-tracing/services/internal/service"
)

const dlqDropDoc = `Drop deletes records that were set aside, for good. OFFSET is that of relay dlq list.

Kafka deletes only all that lies before an offset. What is to stay and lies before such
a record is therefore written anew first, as it is: it gets an offset behind the others.
Of a drop that is ended early, nothing else is lost, but some may be there twice.`

func dlqDropCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "drop OFFSET...", Short: "Delete some of what was set aside", Long: dlqDropDoc,
		Example: "relay dlq drop 12\nrelay dlq drop 3 7 1/4 --topic number-dlq",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("an offset is needed, or several, as relay dlq list shows them")
			}
			return nil
		},
	}
	topic := topicFlag(cmd.Flags())
	return service.Command(cmd, func(ctx context.Context, cfg dlqConfig, args []string) (err error) {
		chosen, err := newChoice(args, "")
		if err != nil {
			return err
		}
		o, err := cfg.letters(*topic).open(ctx, chosen)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, o.close(ctx)) }()
		err = o.sweep(ctx, func(ctx context.Context, a aside) error {
			if chosen.wants(a) {
				return nil
			}
			return o.keep(ctx, a)
		})
		if err == nil {
			fmt.Fprintf(cmd.OutOrStdout(), "deleted %s from %s\n", english.Plural(int(o.count), "record", ""), o.topic)
		}
		return err
	})
}
