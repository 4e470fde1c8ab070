package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseAccepts(t *testing.T) {
	long := strings.Repeat("1234567890", 100_000)
	tests := []struct {
		name, value, want string
		even              bool
	}{
		{"one digit", "6", "6", true},
		{"odd", "7", "7", false},
		{"zero", "0", "0", true},
		{"plus", "+8", "8", true},
		{"minus, odd", "-3", "-3", false},
		{"minus, even", "-4", "-4", true},
		{"minus zero", "-0", "0", true},
		{"plus zero", "+00", "0", true},
		{"leading zeros", "0007", "7", false},
		{"leading zeros below zero", "-0010", "-10", true},
		{"spaces around", "  12 ", "12", true},
		{"line end of Unix", "13\n", "13", false},
		{"line end of Windows", "14\r\n", "14", true},
		{"all white space of ASCII", "\t\n\v\f\r 15 \t\n\v\f\r", "15", false},
		{"beyond 64 bits", "18446744073709551616", "18446744073709551616", true},
		{"below 64 bits", "-9223372036854775809", "-9223372036854775809", false},
		{"a million digits", long + "1", long + "1", false},
		{"a million zeros", strings.Repeat("0", 1_000_000) + "2", "2", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			began := time.Now()
			n, err := parse([]byte(tt.value))
			require.NoError(t, err)
			assert.Equal(t, tt.want, string(n))
			assert.Equal(t, tt.even, n.even())
			assert.Less(t, time.Since(began), 5*time.Second, "not in proportion to the length")
		})
	}
}

func TestParseRefuses(t *testing.T) {
	tests := []struct {
		name  string
		value []byte
		want  string
	}{
		{"null", nil, "not an integer: null value"},
		{"empty", []byte{}, "not an integer: empty value"},
		{"white space only", []byte(" \r\n"), "not an integer: empty value"},
		{"sign only", []byte("-"), `not an integer: "-"`},
		{"two signs", []byte("--1"), `not an integer: "--1"`},
		{"both signs", []byte("+-1"), `not an integer: "+-1"`},
		{"sign behind", []byte("1-"), `not an integer: "1-"`},
		{"space behind the sign", []byte("- 1"), `not an integer: "- 1"`},
		{"space inside", []byte("1 2"), `not an integer: "1 2"`},
		{"two lines", []byte("1\n2"), `not an integer: "1\n2"`},
		{"fraction", []byte("1.0"), `not an integer: "1.0"`},
		{"exponent", []byte("1e3"), `not an integer: "1e3"`},
		{"hexadecimal", []byte("0x10"), `not an integer: "0x10"`},
		{"underscore", []byte("1_000"), `not an integer: "1_000"`},
		{"comma", []byte("1,000"), `not an integer: "1,000"`},
		{"quoted", []byte(`"1"`), `not an integer: "\"1\""`},
		{"word", []byte("six"), `not an integer: "six"`},
		{"digits of another script", []byte("٣"), `not an integer: "٣"`},
		{"full-width digit", []byte("６"), `not an integer: "６"`},
		{"non-breaking space", []byte("\u00a06"), `not an integer: "\u00a06"`},
		{"byte order mark", []byte("\ufeff6"), `not an integer: "\ufeff6"`},
		{"not UTF-8", []byte("6\xff"), `not an integer: "6\xff"`},
		{"NUL behind", []byte("6\x00"), `not an integer: "6\x00"`},
		{"long", []byte(strings.Repeat("x", 100)), `not an integer: "` + strings.Repeat("x", 64) + `"… (100 bytes)`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parse(tt.value)
			assert.EqualError(t, err, tt.want)
		})
	}
}

func TestParseLeavesTheValueAlone(t *testing.T) {
	value := []byte(" -007 ")
	_, err := parse(value)
	require.NoError(t, err)
	assert.Equal(t, " -007 ", string(value))
}
