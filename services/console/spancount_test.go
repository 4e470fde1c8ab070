package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestSpansWaitUntilTheirRecordIsCommitted(t *testing.T) {
	c := newSpanCount()
	requireTotals := func(written, delivered int64) {
		t.Helper()
		w, d := c.totals()
		assert.Equal(t, [2]int64{written, delivered}, [2]int64{w, d})
	}
	c.commit(0, 5) // before anything was read
	for offset := range int64(10) {
		c.read(0, offset, 3)
		c.read(1, offset, 1)
	}
	requireTotals(40, 0)
	c.commit(0, 4)
	requireTotals(40, 12)
	c.commit(0, 10)
	c.commit(1, 10)
	requireTotals(40, 40)
	c.read(0, 0, 7) // made anew
	requireTotals(17, 10)
}

func TestManyMarksAreThinnedOut(t *testing.T) {
	c := newSpanCount()
	const records = 5 * maxMarks
	for offset := range int64(records) {
		c.read(0, offset, 2)
	}
	assert.LessOrEqual(t, len(c.partitions[0].marks), maxMarks)
	c.commit(0, records/2)
	_, delivered := c.totals()
	assert.InDelta(t, records, delivered, records/100)
	c.commit(0, records)
	_, delivered = c.totals()
	assert.EqualValues(t, 2*records, delivered)
}
