package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// at makes a result of so many spans per second for each round.
func at(rates ...int) (results []result) {
	for _, r := range rates {
		results = append(results, result{spans: 2 * r, took: 2 * time.Second, cpu: costs{sender: time.Duration(r) * time.Microsecond, machine: time.Second + time.Duration(r)*time.Microsecond}, peak: 50e6})
	}
	return results
}

func TestTablesShowMediansAndTheirRatios(t *testing.T) {
	var text strings.Builder
	require.NoError(t, writeTables(&text, []series{
		{measurement{label: "direct, 4", size: 9, kind: posting}, at(40_000, 40_000, 1_000)},
		{measurement{label: "direct, 1", size: 9, kind: posting}, at(10_000, 30_000, 20_000)},
		{measurement{label: "relay", size: 9, kind: relaying}, at(90_000, 100_000, 110_000)},
		{measurement{label: "ingester", size: 9, kind: ingesting}, at(200_000, 200_000, 200_000)},
		{measurement{label: "relays: 2", size: 100, kind: ceiling}, at(1_234_567)},
	}, []table{{{"20 outages", "most, ms"}, {"to 2xx", "700"}}}))
	table := strings.Join(strings.FieldsFunc(text.String(), func(r rune) bool { return r == ' ' }), " ")
	for _, want := range []string{
		"| direct, 1 | 20 000 | 10 000 … 30 000 | 0.50 |",
		"| relay | 100 000 | 90 000 … 110 000 | 0.50 |",
		"| relay / best direct post | 2.50 | – |",
		"| relay / Jaeger's ingester, marks before storing | 0.50 | – |",
		"| relay / Jaeger's ingester, marks after storing | – | – |",
		"| relays: 2 | 1 234 600 | 1 234 600 … 1 234 600 | 0.50 | | | 50 | 0.5 |",
		"| 20 outages | most, ms |\n| --- | --: |\n| to 2xx | 700 |",
	} {
		assert.Contains(t, table, want)
	}
	assert.NotContains(t, table, "batches of 100 spans, to Jaeger", "a table without rows")
}
