// Package printable keeps from terminals and pages what strangers have written to steer them: control characters, and those without
// a picture that turn around or hide what stands beside them. Whoever writes to a topic chooses what its records hold.
package printable

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Line returns text as one line: each run of white space in it, and each character that cannot be seen, becomes a space.
func Line(text string) string {
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.Join(strings.Fields(text), " "))
}

// Writer returns a writer to w that writes characters which cannot be seen, other than line ends and tabs, as \u and four
// hexadecimal digits. In JSON that is the same text. Each Write takes whole characters.
func Writer(w io.Writer) io.Writer { return writer{w} }

type writer struct{ io.Writer }

// Write implements io.Writer.
func (w writer) Write(text []byte) (int, error) {
	seen := 0 // so far, all of it to be seen
	for seen < len(text) {
		r, size := utf8.DecodeRune(text[seen:])
		if !visible(r, size) {
			break
		}
		seen += size
	}
	if seen == len(text) {
		return w.Writer.Write(text)
	}
	escaped := append(make([]byte, 0, len(text)+64), text[:seen]...)
	for rest := text[seen:]; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		switch {
		case visible(r, size):
			escaped = append(escaped, rest[:size]...)
		case r > 0xFFFF:
			high, low := utf16.EncodeRune(r)
			escaped = fmt.Appendf(escaped, `\u%04x\u%04x`, high, low)
		default:
			escaped = fmt.Appendf(escaped, `\u%04x`, r)
		}
		rest = rest[size:]
	}
	if _, err := w.Writer.Write(escaped); err != nil {
		return 0, err
	}
	return len(text), nil
}

// visible tells whether a character of so many bytes may be written as it is.
func visible(r rune, size int) bool {
	return strconv.IsPrint(r) && !(r == utf8.RuneError && size == 1) || r == '\n' || r == '\t'
}
