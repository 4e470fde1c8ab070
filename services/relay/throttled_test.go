package main

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestThrottledAddsUpWhatItLeavesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines []int
		emit := func(total int) { lines = append(lines, total) }
		line := throttled{interval: time.Second}
		written := func() []int {
			line.mu.Lock() // held by emit's caller
			defer line.mu.Unlock()
			return slices.Clone(lines)
		}
		line.add(9, emit)
		assert.Equal(t, []int{9}, written(), "the first at once")
		line.add(2, emit)
		line.add(3, emit)
		assert.Equal(t, []int{9}, written(), "no second one within the interval")
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Equal(t, []int{9, 5}, written(), "the sum when the interval is over")
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Equal(t, []int{9, 5}, written(), "nothing was left out")
		line.add(1, emit)
		line.add(4, emit)
		line.flush()
		assert.Equal(t, []int{9, 5, 1, 4}, written(), "what is held back is written at the end")
		line.flush()
		assert.Len(t, written(), 4)
	})
}
