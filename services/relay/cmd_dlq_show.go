package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/spf13/cobra"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"fault-tolerant-tracing/services/internal/ledger"
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
	cmd.Flags().BoolVar(&asJSON, "json", false, "a JSON object")
	return service.Command(cmd, func(ctx context.Context, cfg dlqConfig, args []string) error {
		wanted, err := parsePosition(args[0])
		if err != nil {
			return err
		}
		found, err := findAside(ctx, cfg, wanted)
		if err != nil {
			return err
		}
		if asJSON {
			return writeJSON(cmd.OutOrStdout(), found)
		}
		return writeText(cmd.OutOrStdout(), found)
	})
}

func findAside(ctx context.Context, cfg dlqConfig, wanted position) (aside, error) {
	topic, err := scan.Open(ctx, cfg.Kafka.Cluster(), cfg.Topic)
	if err != nil {
		return aside{}, err
	}
	defer topic.Close()
	ranges, err := topic.All()
	if err != nil {
		return aside{}, err
	}
	if int(wanted.partition) >= len(ranges) {
		return aside{}, fmt.Errorf("%s has no partition %d, the last one is %d", cfg.Topic, wanted.partition, len(ranges)-1)
	}
	held := ranges[wanted.partition]
	var found *aside
	if held.From <= wanted.offset && wanted.offset < held.To {
		only := []scan.Range{{Partition: held.Partition, From: wanted.offset, To: wanted.offset + 1}}
		err = topic.Read(ctx, only, func(m *kafka.Message) error { found = new(newAside(cfg.Format, m)); return nil })
	}
	switch {
	case err != nil:
		return aside{}, err
	case found != nil:
		return *found, nil
	case held.From == held.To:
		return aside{}, fmt.Errorf("%s has no record at offset %s: it is empty", cfg.Topic, wanted)
	}
	return aside{}, fmt.Errorf("%s has no record at offset %s: it holds %s to %s", cfg.Topic, wanted,
		position{wanted.partition, held.From}, position{wanted.partition, held.To - 1})
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
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	return out.Encode(object)
}

func writeText(w io.Writer, a aside) error {
	fmt.Fprintf(w, "offset     %s\nset aside  %s\nfrom       %s\nreason     %s\n", a.place, a.Time.Local().Format(time.RFC3339), printable(a.source()), printable(a.Reason))
	if a.CutFrom > 0 {
		fmt.Fprintf(w, "not whole  %s\n", a.cut())
	}
	if len(a.Key) > 0 {
		fmt.Fprintf(w, "key        %s\n", printable(string(a.Key)))
	}
	for _, h := range a.Headers {
		fmt.Fprintf(w, "header     %s: %s\n", printable(h.Key), printable(string(h.Value)))
	}
	traces, err := a.decode()
	if err != nil {
		fmt.Fprintf(w, "value      %d bytes, %v\n\n", len(a.Value), err)
		_, err = fmt.Fprint(w, hex.Dump(a.Value[:min(dumped, len(a.Value))]))
		return err
	}
	if b := ledger.Of(a.Headers, a.spans); b.SeqNo != 0 {
		fmt.Fprintf(w, "number     %d of the batches of its process\n", b.SeqNo)
		fmt.Fprintf(w, "lost       %d queue full, %d too large, %d not sent, since the process began\n", b.Lost.FullQueue, b.Lost.TooLarge, b.Lost.FailedToEmit)
	}
	fmt.Fprintf(w, "value      %d bytes, %d spans\n", len(a.Value), a.spans.Len())
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
