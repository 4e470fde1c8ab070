package service

import (
	"io"
	"log/slog"
	"os"

	"golang.org/x/term"

	"fault-tolerant-tracing/services/internal/printable"
)

// NewLogger returns the logger of a command: it writes to stderr as Main's does.
func NewLogger(name string, c Common) *slog.Logger { return newLogger(os.Stderr, name, c) }

// newLogger writes to w in the wanted format, or, if none is wanted, as text to a terminal and as JSON elsewhere. Each line
// carries the key service.
func newLogger(w io.Writer, name string, c Common) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.LogLevel, ReplaceAttr: readable}
	var handler slog.Handler = slog.NewJSONHandler(printable.Writer(w), options)
	if c.LogFormat == "text" || c.LogFormat == "" && isTerminal(w) {
		handler = slog.NewTextHandler(w, options)
	}
	return slog.New(handler).With("service", name)
}

// readable writes durations as 1.5s, in JSON too.
func readable(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
