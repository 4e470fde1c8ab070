package main

import (
	"context"
	"fmt"
	"os"
	"slices"
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
	var numbers []int64
	for i, line := range strings.Split(strings.TrimRight(string(text), "\n"), "\n") {
		n, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s, line %d: %q is not a number the demo can follow", file, i+1, line)
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

// moreNumbers returns as many numbers as there are in numbers, counting on from the largest.
func moreNumbers(numbers []int64) []int64 {
	more := make([]int64, len(numbers))
	for i := range more {
		more[i] = slices.Max(numbers) + int64(i) + 1
	}
	return more
}

// feed writes the numbers to number-topic as the Kafka Connect file source does: text as value, no key, no headers. It returns
// when the broker has all of them.
func feed(ctx context.Context, broker string, numbers []int64) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.DefaultProduceTopic(numberTopic),
		kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	if err != nil {
		return fmt.Errorf("feed %s: %w", numberTopic, err)
	}
	defer client.Close()
	records := make([]*kgo.Record, 0, len(numbers))
	for _, n := range numbers {
		records = append(records, kgo.StringRecord(strconv.FormatInt(n, 10)))
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("feed %s: %w", numberTopic, err)
	}
	return nil
}
