package local

import (
	"os"
	"testing"

	"fault-tolerant-tracing/tracing/tracingtest"
)

// TestMain lets the program of the tests be a supervisor too.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "supervise" {
		code := 1
		command := SuperviseCommand(&code)
		command.SetArgs(os.Args[2:])
		_ = command.Execute()
		os.Exit(code)
	}
	tracingtest.VerifyMain(m)
}
