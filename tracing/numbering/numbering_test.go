package numbering_test

import (
	"math"
	"testing"

	"fault-tolerant-tracing/tracing/numbering"

	"github.com/stretchr/testify/assert"
)

func TestSeqNo(t *testing.T) {
	for _, n := range []int64{1, 17, math.MaxInt64} {
		got, ok := numbering.ParseSeqNo(numbering.FormatSeqNo(n))
		assert.True(t, ok)
		assert.Equal(t, n, got)
	}
	assert.Equal(t, "17", string(numbering.FormatSeqNo(17)))
}

func TestSeqNoThatIsNone(t *testing.T) {
	for _, value := range []string{"", "0", "-1", "+1", " 1", "1 ", "1.0", "0x1", "1_000", "9223372036854775808", "x", "\x00"} {
		_, ok := numbering.ParseSeqNo([]byte(value))
		assert.False(t, ok, "%q", value)
	}
	_, ok := numbering.ParseSeqNo(nil)
	assert.False(t, ok, "absent")
}

func TestLosses(t *testing.T) {
	tests := []struct {
		value string
		want  numbering.Losses
	}{
		{"full_queue=0 too_large=0 failed_to_emit=0", numbering.Losses{}},
		{"full_queue=1 too_large=20 failed_to_emit=9223372036854775807", numbering.Losses{FullQueue: 1, TooLarge: 20, FailedToEmit: math.MaxInt64}},
	}
	for _, tt := range tests {
		got, ok := numbering.ParseLosses([]byte(tt.value))
		assert.True(t, ok, tt.value)
		assert.Equal(t, tt.want, got)
		assert.Equal(t, tt.value, tt.want.String())
	}
	got, ok := numbering.ParseLosses([]byte("failed_to_emit=3 full_queue=1"))
	assert.True(t, ok, "any order, and what is not there is 0")
	assert.Equal(t, numbering.Losses{FullQueue: 1, FailedToEmit: 3}, got)
}

func TestLossesThatAreNone(t *testing.T) {
	for _, value := range []string{"", " ", "x", "=", "full_queue", "full_queue=", "full_queue=-1", "full_queue=1,too_large=1",
		"lost=1", "full_queue=1 full_queue=1", "full_queue=1 x", "full_queue=9223372036854775808", "\xff=1"} {
		got, ok := numbering.ParseLosses([]byte(value))
		assert.False(t, ok, "%q", value)
		assert.Zero(t, got)
	}
	_, ok := numbering.ParseLosses(nil)
	assert.False(t, ok, "absent")
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("17"))
	f.Add([]byte("full_queue=0 too_large=1 failed_to_emit=0"))
	f.Fuzz(func(t *testing.T, value []byte) {
		if n, ok := numbering.ParseSeqNo(value); ok {
			again, ok := numbering.ParseSeqNo(numbering.FormatSeqNo(n))
			assert.True(t, ok && again == n)
		}
		if l, ok := numbering.ParseLosses(value); ok {
			again, ok := numbering.ParseLosses([]byte(l.String()))
			assert.True(t, ok && again == l)
		}
	})
}
