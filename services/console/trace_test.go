package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestSpansAreArrangedAsATree(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
	list := arrange([]span{
		{Name: "c", id: "3", parent: "2", start: at(300), end: at(400)},
		{Name: "a", id: "1", parent: "gone", start: at(0), end: at(100)},
		{Name: "b", id: "2", parent: "1", start: at(50), end: at(1000)},
		{Name: "b", id: "2", parent: "1", start: at(50), end: at(1000)}, // it came twice
		{Name: "loop", id: "8", parent: "9", start: at(1), end: at(2)},
		{Name: "loop", id: "9", parent: "8", start: at(1), end: at(2)},
	})
	var names []string
	for i, s := range list {
		names = append(names, s.Name)
		assert.Equal(t, i, s.Depth)
	}
	assert.Equal(t, []string{"a", "b", "c"}, names)
	assert.Equal(t, [2]int{50, 950}, [2]int{list[1].Began, list[1].Took})
	assert.Empty(t, arrange(nil))
}
