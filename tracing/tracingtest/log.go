package tracingtest

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Log is a log that may be read while it is written. The zero value is empty. It
// is safe for several goroutines.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer. It never fails.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String returns what was written so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Logger returns a logger that writes here, as text, from level debug on.
func (l *Log) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// Count returns how often a text was written so far.
func (l *Log) Count(text string) int { return strings.Count(l.String(), text) }

// Wait blocks until a text is written. It ends the test if that takes half a minute.
func (l *Log) Wait(t testing.TB, text string) {
	t.Helper()
	require.Eventually(t, func() bool { return l.Count(text) > 0 }, 30*time.Second, 5*time.Millisecond, "never logged: %s", text)
}
