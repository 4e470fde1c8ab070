package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"fault-tolerant-tracing/services/internal/printable"
	"fault-tolerant-tracing/services/internal/service"
)

const dlqListDoc = `List tells one line about each record that was set aside: its offset on the
dead-letter topic, when it was set aside, where it came from (topic,
partition/offset), service and number of spans ("-" if it holds no batch), and why.
What was too large for the dead-letter topic is cut; the whole is where it came from.
With --json each line is a JSON object.`

func dlqListCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List what was set aside, one line each", Long: dlqListDoc,
		Example: "relay dlq list\nrelay dlq list --json | jq -r .reason | sort | uniq -c\nrelay dlq list --topic number-dlq",
	}
	topic := topicFlag(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "lines of JSON")
	return service.Command(cmd, func(ctx context.Context, cfg dlqConfig, _ []string) error {
		if asJSON {
			out := json.NewEncoder(printable.Writer(cmd.OutOrStdout()))
			return cfg.letters(*topic).each(ctx, func(a aside) error { return out.Encode(a.line()) })
		}
		return listText(ctx, cfg.letters(*topic), cmd.OutOrStdout())
	})
}

const listFormat = "%8s  %-19s  %-24s  %-16s  %5s  %s\n"

func listText(ctx context.Context, l letters, w io.Writer) error {
	none := true
	err := l.each(ctx, func(a aside) error {
		if none {
			fmt.Fprintf(w, listFormat, "OFFSET", "SET ASIDE", "FROM", "SERVICE", "SPANS", "REASON")
		}
		none = false
		name, spans := "-", "-"
		if a.err == nil {
			name, spans = printable.Line(a.spans.Service()), strconv.Itoa(a.spans.Len())
		}
		reason := printable.Line(a.Reason)
		if a.CutFrom > 0 {
			reason = fmt.Sprintf("(cut from %d bytes) %s", a.CutFrom, reason)
		}
		_, err := fmt.Fprintf(w, listFormat, a.place, a.Time.Local().Format(localTime), printable.Line(a.source()), name, spans, reason)
		return err
	})
	if err == nil && none {
		fmt.Fprintf(w, "%s is empty\n", l.topic)
	}
	return err
}

// asideLine is what list and show tell of a record as JSON.
type asideLine struct {
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	Time      time.Time `json:"time"` // when it was set aside
	From      *origin   `json:"from,omitempty"`
	Reason    string    `json:"reason"`
	Service   string    `json:"service,omitempty"`
	Spans     *int      `json:"spans,omitempty"`    // missing: it is no batch
	CutFrom   int       `json:"cut_from,omitempty"` // bytes it had; missing: it is whole
}

// origin is where a record was before.
type origin struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

func (a aside) line() asideLine {
	line := asideLine{Partition: a.place.partition, Offset: a.place.offset, Time: a.Time.UTC(), Reason: a.Reason, CutFrom: a.CutFrom}
	if a.Topic != "" {
		line.From = &origin{a.Topic, a.Partition, a.Offset}
	}
	if a.err == nil {
		line.Service, line.Spans = a.spans.Service(), new(a.spans.Len())
	}
	return line
}
