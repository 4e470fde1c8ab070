package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

const numberTopic = "number-topic"

// readNumbers reads a file with one integer per line.
func readNumbers(file string) ([]int64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the numbers: %w", err)
	}
	if strings.TrimSpace(string(text)) == "" {
		return nil, fmt.Errorf("%s: no numbers", file)
	}
	var numbers []int64
	for i, line := range strings.Split(strings.TrimRight(string(text), "\n"), "\n") {
		n, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s, line %d: %.60q is not a number the demo can follow", file, i+1, line)
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

// moreNumbers returns n numbers, counting on from the largest so far.
func moreNumbers(largest int64, n int) []int64 {
	more := make([]int64, n)
	for i := range more {
		more[i] = largest + int64(i) + 1
	}
	return more
}

// texts are the numbers as they stand in the file.
func texts(numbers []int64) (values []string) {
	for _, n := range numbers {
		values = append(values, strconv.FormatInt(n, 10))
	}
	return values
}

// feed writes numbers, or what else is to be taken for one, to number-topic as the Kafka Connect file source does: see write.
func feed(ctx context.Context, broker string, values []string) error {
	return write(ctx, broker, numberTopic, values)
}

// write writes records with a text as value, no key and no headers. It returns when the broker has all of them.
func write(ctx context.Context, broker, topic string, values []string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.DefaultProduceTopic(topic),
		kgo.RecordPartitioner(kgo.RoundRobinPartitioner()), kgo.AlwaysRetryEOF()) // a broker that ends looks so
	if err != nil {
		return fmt.Errorf("write to %s: %w", topic, err)
	}
	defer client.Close()
	records := make([]*kgo.Record, 0, len(values))
	for _, value := range values {
		records = append(records, kgo.StringRecord(value))
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("write to %s: %w", topic, err)
	}
	return nil
}
