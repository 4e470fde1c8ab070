package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"fault-tolerant-tracing/services/internal/ledger"
	"fault-tolerant-tracing/services/internal/printable"
	"fault-tolerant-tracing/services/internal/scan"
	"fault-tolerant-tracing/services/internal/service"
)

const dlqShowDoc = `Show tells everything about one record that was set aside: what list tells, its key
and headers, and its spans, as OpenTelemetry shows them, whatever their format is. Of a
value that holds no spans it says what is wrong with it, and shows how it begins. OFFSET
is that of relay dlq list.`

// dumped is how much of a value is shown that is no batch.
const dumped = 512

func dlqShowCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "show OFFSET", Short: "Show one record with its spans", Long: dlqShowDoc, Example: "relay dlq show 12\nrelay dlq show 12 --json | jq .batch.resourceSpans",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("one offset is needed, as relay dlq list shows it")
			}
			return nil
		},
	}
	topic := topicFlag(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "a JSON object")
	return service.Command(cmd, func(ctx context.Context, cfg dlqConfig, args []string) error {
		wanted, err := parsePosition(args[0])
		if err != nil {
			return err
		}
		found, err := cfg.letters(*topic).find(ctx, wanted)
		if err != nil {
			return err
		}
		if asJSON {
			return writeJSON(cmd.OutOrStdout(), found)
		}
		return writeText(cmd.OutOrStdout(), found)
	})
}

// find returns the record at a place.
func (l letters) find(ctx context.Context, wanted position) (aside, error) {
	topic, err := scan.Open(ctx, l.cluster, l.topic)
	if err != nil {
		return aside{}, err
	}
	defer topic.Close()
	ranges, err := topic.All()
	if err != nil {
		return aside{}, err
	}
	only := slices.DeleteFunc(slices.Clone(ranges), func(r scan.Range) bool {
		return r.Partition != wanted.partition || wanted.offset < r.From || r.To <= wanted.offset
	})
	var found *aside
	for i := range only {
		only[i].From, only[i].To = wanted.offset, wanted.offset+1
	}
	err = topic.Read(ctx, only, func(m *kafka.Message) error { found = new(newAside(l.format, m)); return nil })
	switch {
	case err != nil:
		return aside{}, err
	case found == nil:
		return aside{}, l.missing(wanted, ranges)
	}
	return *found, nil
}

// asideObject is what show tells as JSON.
type asideObject struct {
	asideLine
	Key     string          `json:"key,omitempty"`
	Headers []headerLine    `json:"headers,omitempty"`
	Batch   json.RawMessage `json:"batch,omitempty"` // its spans, in OTLP's JSON
	Error   string          `json:"error,omitempty"` // why the value holds no spans
	Value   []byte          `json:"value,omitempty"` // if it holds none, as base64
}

type headerLine struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

func writeJSON(w io.Writer, a aside) error {
	object := asideObject{asideLine: a.line(), Key: string(a.Key)}
	for _, h := range a.Headers {
		object.Headers = append(object.Headers, headerLine{h.Key, string(h.Value)})
	}
	if traces, err := a.decode(); err != nil {
		object.Error, object.Value = err.Error(), a.Value
	} else if object.Batch, err = new(ptrace.JSONMarshaler).MarshalTraces(traces); err != nil {
		return err
	}
	out := json.NewEncoder(printable.Writer(w))
	out.SetIndent("", "  ")
	return out.Encode(object)
}

func writeText(w io.Writer, a aside) error {
	fmt.Fprintf(w, "offset     %s\nset aside  %s\nfrom       %s\nreason     %s\n", a.place, a.Time.Local().Format(time.RFC3339), printable.Line(a.source()), printable.Line(a.Reason))
	if a.CutFrom > 0 {
		fmt.Fprintf(w, "not whole  %s\n", a.cut())
	}
	if len(a.Key) > 0 {
		fmt.Fprintf(w, "key        %s\n", printable.Line(string(a.Key)))
	}
	for _, h := range a.Headers {
		fmt.Fprintf(w, "header     %s: %s\n", printable.Line(h.Key), printable.Line(string(h.Value)))
	}
	traces, err := a.decode()
	if err != nil {
		fmt.Fprintf(w, "value      %d bytes, %s\n\n", len(a.Value), printable.Line(err.Error()))
		_, err = fmt.Fprint(w, hex.Dump(a.Value[:min(dumped, len(a.Value))]))
		return err
	}
	if b := ledger.Of(a.Headers, a.spans); b.SeqNo != 0 {
		fmt.Fprintf(w, "number     %d of the batches of its process\n", b.SeqNo)
		fmt.Fprintf(w, "lost       %d queue full, %d too large, %d not sent, since the process began\n", b.Lost.FullQueue, b.Lost.TooLarge, b.Lost.FailedToEmit)
	}
	fmt.Fprintf(w, "value      %d bytes, %s\n", len(a.Value), english.Plural(a.spans.Len(), "span", ""))
	writeSpans(w, traces)
	return nil
}

// decode returns the spans of a record that holds some.
func (a aside) decode() (ptrace.Traces, error) {
	if a.err != nil {
		return ptrace.Traces{}, a.err
	}
	return a.spans.Decode()
}
