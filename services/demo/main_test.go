package main

import (
	"context"
	"encoding/json"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/fatih/color"

	"fault-tolerant-tracing/tracing"
	"fault-tolerant-tracing/tracing/tracingtest"
)

// demoInTest is the variable that turns the test's program into a demo: the JSON of a demoSettings.
const demoInTest = "DEMO_IN_TEST"

type demoSettings struct {
	Work  string
	Ports ports
	Stay  bool

	Colours bool // as on a terminal
}

// TestMain lets the program of the tests be the demo, its supervisor and its broker too, so that a test can kill them.
func TestMain(m *testing.M) {
	if settings := os.Getenv(demoInTest); settings != "" {
		os.Exit(runInTest(settings))
	}
	if len(os.Args) > 1 && (os.Args[1] == "supervise" || os.Args[1] == "broker") {
		os.Exit(run(os.Args[1:]))
	}
	tracingtest.VerifyMain(m)
}

func runInTest(text string) int {
	var settings demoSettings
	if err := json.Unmarshal([]byte(text), &settings); err != nil {
		panic(err)
	}
	if err := os.Unsetenv(demoInTest); err != nil { // the supervisors are not to be demos
		panic(err)
	}
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		panic(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT)
	defer stop()
	color.NoColor = !settings.Colours
	d := &demo{
		transport: tracing.Kafka, collector: otlp, root: root, work: settings.Work, ports: settings.Ports,
		supervisor: []string{self, "supervise", "--"}, broker: []string{self, "broker"}, screen: newScreen(os.Stdout), stay: settings.Stay,
	}
	code, err := d.run(ctx)
	if err != nil {
		d.screen.line("%v", err)
	}
	return code
}
