package main

import (
	"context"
	"errors"
	"testing"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMarksArePassedOnInOrder(t *testing.T) {
	tests := []struct {
		name  string
		begun []int64
		done  []int64
		want  []int64 // marks that reach sarama: up to where everything is done
	}{
		{"in order", []int64{0, 1, 2}, []int64{0, 1, 2}, []int64{1, 2, 3}},
		{"the oldest last", []int64{0, 1, 2}, []int64{2, 1, 0}, []int64{3}},
		{"the oldest never", []int64{0, 1, 2}, []int64{1, 2}, nil},
		{"one missing inside", []int64{0, 1, 2, 3}, []int64{0, 2, 3}, []int64{1}},
		{"offsets with gaps, as in a compacted topic", []int64{5, 9, 40}, []int64{9, 5, 40}, []int64{40, 41}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inner := new(marks)
			s := &orderedSession{ConsumerGroupSession: inner, partitions: map[partition]*finished{}}
			for _, offset := range tt.begun {
				s.begin(partition{"number-topic", 1}, offset)
				s.begin(partition{"number-topic", 2}, offset) // another partition holds up nothing
			}
			for _, offset := range tt.done {
				s.MarkOffset("number-topic", 1, offset+1, "")
				require.NoError(t, s.mark(t.Context(), func(context.Context) error { return nil }))
			}
			assert.Equal(t, tt.want, inner.next)
		})
	}
}

// A message counts as done only when Kafka has its spans.
func TestNothingIsMarkedBeforeItsSpansAreFlushed(t *testing.T) {
	inner := new(marks)
	s := &orderedSession{ConsumerGroupSession: inner, partitions: map[partition]*finished{}}
	p := partition{"number-topic", 1}
	s.begin(p, 7)
	s.begin(p, 8)
	s.MarkOffset(p.topic, p.id, 8, "")
	away := errors.New("kafka is away")
	require.ErrorIs(t, s.mark(t.Context(), func(context.Context) error { return away }), away)
	assert.Empty(t, inner.next)
	require.NoError(t, s.mark(t.Context(), func(context.Context) error {
		assert.Empty(t, inner.next)
		s.MarkOffset(p.topic, p.id, 9, "") // meanwhile: its spans may not be there
		return nil
	}))
	assert.Equal(t, []int64{8}, inner.next)
	require.NoError(t, s.mark(t.Context(), func(context.Context) error { return nil }))
	assert.Equal(t, []int64{8, 9}, inner.next)
}

// What is done behind a message that is stuck takes no room.
func TestWhatIsDoneBehindAStuckMessageIsNotKept(t *testing.T) {
	s := &orderedSession{ConsumerGroupSession: new(marks), partitions: map[partition]*finished{}}
	p := partition{"number-topic", 1}
	s.begin(p, 0)
	for offset := int64(1); offset <= 1000; offset++ {
		s.begin(p, offset)
		s.MarkOffset(p.topic, p.id, offset+1, "")
	}
	assert.Len(t, s.partitions[p].unfinished, 1)
	assert.Equal(t, 1, s.partitions[p].Pending())
}

type marks struct {
	sarama.ConsumerGroupSession
	next []int64
}

func (m *marks) MarkOffset(_ string, _ int32, next int64, _ string) { m.next = append(m.next, next) }
