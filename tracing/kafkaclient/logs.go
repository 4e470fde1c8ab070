package kafkaclient

import (
	"context"
	"log/slog"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// ForwardLogs writes librdkafka's log lines to log until ch is closed, which the
// client's Close does. A nil log means slog.Default(). Run it in its own goroutine
// for each consumer and admin client made from Cluster.ConfigMap; a Producer does
// so itself.
func ForwardLogs(ch <-chan kafka.LogEvent, log *slog.Logger) {
	log = orDefault(log)
	for e := range ch {
		log.Log(context.Background(), level(e.Level), "librdkafka", "client", e.Name, "tag", e.Tag, "message", e.Message)
	}
}

func orDefault(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.Default()
	}
	return log
}

// level maps syslog severities. librdkafka logs a refused connection, which it
// retries on its own, as severity 3 (error): no person has to act, so it is a
// warning here.
func level(severity int) slog.Level {
	switch {
	case severity <= 2:
		return slog.LevelError
	case severity <= 4:
		return slog.LevelWarn
	case severity <= 6:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}
