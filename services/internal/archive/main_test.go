package archive

import (
	"testing"

	"go.uber.org/goleak"

	"fault-tolerant-tracing/tracing/tracingtest"
)

func TestMain(m *testing.M) {
	// librdkafka may not end the close of a client that was fenced off: see closeClient.
	tracingtest.VerifyMain(m,
		goleak.IgnoreAnyFunction("fault-tolerant-tracing/services/internal/archive.(*Archiver).closeClient.func1"),
		goleak.IgnoreAnyFunction("fault-tolerant-tracing/tracing/kafkaclient.ForwardLogs"))
}
