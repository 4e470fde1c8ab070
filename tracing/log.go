package tracing

import (
	"context"
	"fmt"
	"log/slog"
)

// jaegerLogger writes the log of Jaeger's client to slog.
type jaegerLogger struct{ log *slog.Logger }

func (l jaegerLogger) Error(msg string) { l.log.Error(msg) }

func (l jaegerLogger) Infof(format string, args ...any) { l.logf(slog.LevelInfo, format, args...) }

func (l jaegerLogger) Debugf(format string, args ...any) { l.logf(slog.LevelDebug, format, args...) }

func (l jaegerLogger) logf(level slog.Level, format string, args ...any) {
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, fmt.Sprintf(format, args...))
	}
}

// debugLogger is for the reporter that logs each span, which knows only Infof.
type debugLogger struct{ jaegerLogger }

func (l debugLogger) Infof(format string, args ...any) { l.Debugf(format, args...) }
