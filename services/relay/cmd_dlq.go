package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"fault-tolerant-tracing/services/internal/deadletter"
	"fault-tolerant-tracing/services/internal/payload"
	"fault-tolerant-tracing/services/internal/printable"
	"fault-tolerant-tracing/services/internal/scan"
	"fault-tolerant-tracing/services/internal/service"
	"fault-tolerant-tracing/tracing/kafkaclient"
)

const dlqDoc = `Dlq looks after tracing-dlq, where the relay sets aside what Jaeger can never take:
records that hold no batch of spans, and spans that Jaeger refuses again and again. With
--topic it looks after number-dlq, even-dlq or sentence-dlq, where stream, sentence and
answer set aside what they cannot read.`

type dlqConfig struct {
	Kafka  service.TracingKafka
	Data   service.Kafka
	Topic  string `env:"TRACING_DLQ" envDefault:"tracing-dlq" help:"topic with what was set aside"`
	Format payload.Setting
}

func dlqCommand() *cobra.Command {
	return service.Commands("dlq", "Look after what was set aside", dlqDoc, dlqListCommand(), dlqShowCommand(), dlqRedriveCommand(), dlqDropCommand())
}

// topicFlag adds the flag that says which dead-letter topic a command is about.
func topicFlag(flags *pflag.FlagSet) *string {
	return flags.String("topic", "", "another dead-letter topic of this `name`, on the cluster with the data: number-dlq, even-dlq or sentence-dlq")
}

// letters are those of one dead-letter topic.
type letters struct {
	topic   string
	cluster kafkaclient.Cluster
	format  payload.Setting
	spans   bool // for Jaeger; others go back to where they came from
}

// letters are those of the topic that --topic names, or of the relay's.
func (c dlqConfig) letters(topic string) letters {
	if topic == "" || topic == c.Topic {
		return letters{c.Topic, c.Kafka.Cluster(), c.Format, true}
	}
	return letters{topic, c.Data.Cluster(), c.Format, false}
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
	return fmt.Sprintf("cut from %d bytes, the whole is at %s", a.CutFrom, printable.Line(a.source()))
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

// each calls yield for each record that is on the topic now, in the order of partition
// and offset.
func (l letters) each(ctx context.Context, yield func(aside) error) error {
	topic, err := scan.Open(ctx, l.cluster, l.topic)
	if err != nil {
		return err
	}
	defer topic.Close()
	ranges, err := topic.All()
	if err != nil {
		return err
	}
	for _, r := range ranges {
		err := topic.Read(ctx, []scan.Range{r}, func(m *kafka.Message) error { return yield(newAside(l.format, m)) })
		if err != nil {
			return err
		}
	}
	return nil
}

// missing is the error for a place where there is no record, among what the topic holds.
func (l letters) missing(p position, ranges []scan.Range) error {
	if int(p.partition) >= len(ranges) {
		return fmt.Errorf("%s has no partition %d, the last one is %d", l.topic, p.partition, len(ranges)-1)
	}
	held := ranges[p.partition]
	if held.From == held.To {
		return fmt.Errorf("%s has no record at offset %s: it is empty", l.topic, p)
	}
	return fmt.Errorf("%s has no record at offset %s: it holds %s to %s", l.topic, p,
		position{p.partition, held.From}, position{p.partition, held.To - 1})
}
