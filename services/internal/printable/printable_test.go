package printable

import (
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWhatCannotBeSeenIsNotWritten(t *testing.T) {
	for _, tt := range []struct{ name, text, line, written string }{
		{"plain", "Zeile 1, ◆ 日本", "Zeile 1, ◆ 日本", "Zeile 1, ◆ 日本"},
		{"line ends and tabs", "a\r\n\tb\v\fc", "a b c", "a\\u000d\n\tb\\u000b\\u000cc"},
		{"colours", "a\x1b[31mred", "a [31mred", `a\u001b[31mred`},
		{"eight-bit control", "a\u009b31m", "a 31m", `a\u009b31m`},
		{"a bell and a delete", "a\a\x7fb", "a  b", `a\u0007\u007fb`},
		{"turned around", "exe.\u202egpj", "exe. gpj", `exe.\u202egpj`},
		{"isolated", "a\u2066b\u2069", "a b ", `a\u2066b\u2069`},
		{"hidden", "a\u200bb\ufeff", "a b ", `a\u200bb\ufeff`},
		{"a tag", "a\U000e0041b", "a b", `a\udb40\udc41b`},
		{"line ends of Unicode", "a\u2028b\u2029c\u0085d", "a b c d", `a\u2028b\u2029c\u0085d`},
		{"no UTF-8", "a\xff\xc3b", "a��b", `a\ufffd\ufffdb`},
		{"a replacement, as it is", "a\ufffdb", "a�b", "a�b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.line, Line(tt.text))
			assert.Equal(t, tt.written, written(t, tt.text))
		})
	}
}

func written(t *testing.T, text string) string {
	t.Helper()
	var b strings.Builder
	n, err := Writer(&b).Write([]byte(text))
	require.NoError(t, err)
	assert.Equal(t, len(text), n)
	return b.String()
}

func TestAWriteThatFailsIsTold(t *testing.T) {
	r, w := io.Pipe()
	r.Close()
	for _, text := range []string{"a", "\a"} {
		_, err := Writer(w).Write([]byte(text))
		assert.ErrorIs(t, err, io.ErrClosedPipe)
	}
}

func FuzzText(f *testing.F) {
	for _, text := range []string{"", "a b", "\x1b[2J\u202e", "\xff", "\U000e0041", `\u0041"`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, r := range Line(text) {
			require.True(t, strconv.IsPrint(r), "%U in a line", r)
		}
		for _, r := range written(t, text) {
			require.True(t, strconv.IsPrint(r) || r == '\n' || r == '\t', "%U is written", r)
		}
		encoded, err := json.Marshal(text)
		require.NoError(t, err)
		var back, want string
		require.NoError(t, json.Unmarshal([]byte(written(t, string(encoded))), &back))
		require.NoError(t, json.Unmarshal(encoded, &want))
		require.Equal(t, want, back, "JSON means something else")
	})
}
