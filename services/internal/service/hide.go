package service

import (
	"regexp"
	"strconv"
	"strings"
)

var scheme = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9+.-]*://`)

// hide leaves out of text what may be a password in one of values, wherever text repeats that: what stands before its last @, as
// user and password do in a URL, whether it is one or not.
func hide(text string, values []string) string {
	for _, value := range values {
		at := strings.LastIndex(value, "@")
		if at < 0 {
			continue
		}
		hidden := scheme.FindString(value[:at]) + "***" + value[at:]
		text = strings.ReplaceAll(text, value, hidden)
		text = strings.ReplaceAll(text, quoted(value), quoted(hidden))
	}
	return text
}

// quoted is value as %q writes it, without the marks around it.
func quoted(value string) string {
	text := strconv.Quote(value)
	return text[1 : len(text)-1]
}

// given returns the values of an environment and of command-line arguments.
func given(environ, args []string) (values []string) {
	for _, value := range toMap(environ) {
		values = append(values, value)
	}
	for _, arg := range args {
		if _, value, ok := strings.Cut(arg, "="); ok && strings.HasPrefix(arg, "-") {
			arg = value
		}
		values = append(values, arg)
	}
	return values
}
