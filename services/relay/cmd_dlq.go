package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/spf13/cobra"

	"fault-tolerant-tracing/services/internal/deadletter"
	"fault-tolerant-tracing/services/internal/payload"
	"fault-tolerant-tracing/services/internal/scan"
	"fault-tolerant-tracing/services/internal/service"
)

const dlqDoc = `Dlq looks after tracing-dlq, where the relay sets aside what Jaeger can never take:
records that hold no batch of spans, and spans that Jaeger refuses again and again.`

type dlqConfig struct {
	Kafka  service.TracingKafka
	Topic  string `env:"TRACING_DLQ" envDefault:"tracing-dlq" help:"topic with what was set aside"`
	Format payload.Setting
}

func dlqCommand() *cobra.Command {
	return service.Commands("dlq", "Look after what was set aside", dlqDoc, dlqListCommand(), dlqShowCommand(), dlqRedriveCommand())
}

// aside is a record of the dead-letter topic.
type aside struct {
	deadletter.Entry
	place position
	spans payload.Spans
	err   error // why the value holds no spans; nil: it does
}

func newAside(f payload.Setting, m *kafka.Message) aside {
	spans, err := f.Parse(m.Value)
	return aside{
		Entry: deadletter.Read(m),
		place: position{m.TopicPartition.Partition, int64(m.TopicPartition.Offset)},
		spans: spans,
		err:   err,
	}
}

// source tells where the record came from.
func (a aside) source() string {
	if a.Topic == "" {
		return "-"
	}
	return fmt.Sprintf("%s %d/%d", a.Topic, a.Partition, a.Offset)
}

// cut tells of a record that is not whole where the whole is.
func (a aside) cut() string {
	return fmt.Sprintf("cut from %d bytes, the whole is at %s", a.CutFrom, printable(a.source()))
}

// position is where a record lies on the dead-letter topic. In words it is the
// offset, with the partition before it if that is not the first.
type position struct {
	partition int32
	offset    int64
}

func (p position) String() string {
	if p.partition == 0 {
		return strconv.FormatInt(p.offset, 10)
	}
	return fmt.Sprintf("%d/%d", p.partition, p.offset)
}

func parsePosition(text string) (position, error) {
	partition, offset, found := strings.Cut(text, "/")
	if !found {
		partition, offset = "0", text
	}
	p, errPartition := strconv.ParseUint(partition, 10, 31)
	o, errOffset := strconv.ParseUint(offset, 10, 63)
	if errPartition != nil || errOffset != nil {
		return position{}, service.Usage("%q is no offset: it is a number, as relay dlq list shows it, such as 12, or 3/12 in partition 3", text)
	}
	return position{int32(p), int64(o)}, nil
}

// eachAside calls yield for each record that is on the dead-letter topic now, in
// the order of partition and offset.
func eachAside(ctx context.Context, cfg dlqConfig, yield func(aside) error) error {
	topic, err := scan.Open(ctx, cfg.Kafka.Cluster(), cfg.Topic)
	if err != nil {
		return err
	}
	defer topic.Close()
	ranges, err := topic.All()
	if err != nil {
		return err
	}
	for _, r := range ranges {
		err := topic.Read(ctx, []scan.Range{r}, func(m *kafka.Message) error { return yield(newAside(cfg.Format, m)) })
		if err != nil {
			return err
		}
	}
	return nil
}

// printable returns text as one line without what could change a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.Join(strings.Fields(text), " "))
}
