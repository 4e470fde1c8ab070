package jaeger

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fault-tolerant-tracing/tracing/tracingtest"
)

// StartForTest starts the Jaeger that `make build` has put into bin/, on free
// ports and in a temporary folder, and kills it when the test ends. If the test
// has failed by then, the end of Jaeger's log goes into the test's.
//
// The test fails when there is no Jaeger, or when it does not start within a
// minute.
func StartForTest(t testing.TB) *Process {
	t.Helper()
	return startForTest(t, optionsForTest(t))
}

// StartBatchingForTest is StartForTest with the batch processor that most configurations
// have, as it is by default: it answers before it stores.
func StartBatchingForTest(t testing.TB) *Process {
	t.Helper()
	opts := optionsForTest(t)
	config, err := os.ReadFile(opts.ConfigFile)
	if err != nil {
		t.Fatal(err)
	}
	batching := strings.Replace(string(config), "processors: []", "processors: [batch]", 1) + "\nprocessors:\n  batch:\n"
	ui, err := os.ReadFile(filepath.Join(filepath.Dir(opts.ConfigFile), "ui.json"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	opts.ConfigFile = filepath.Join(dir, "jaeger.yaml")
	for file, content := range map[string][]byte{"jaeger.yaml": []byte(batching), "ui.json": ui} {
		if err := os.WriteFile(filepath.Join(dir, file), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return startForTest(t, opts)
}

func startForTest(t testing.TB, opts Options) *Process {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	p, err := Start(ctx, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the end of Jaeger's log:\n%s", tail(opts.LogFile))
		}
	})
	return p
}

func optionsForTest(t testing.TB) Options {
	t.Helper()
	root, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(root, "bin", "jaeger")
	if _, err := os.Stat(binary); err != nil {
		t.Fatalf("no Jaeger to test with, run `make build`: %v", err)
	}
	dir := t.TempDir()
	return Options{
		Binary:        binary,
		ConfigFile:    filepath.Join(root, "deploy", "jaeger", "jaeger.yaml"),
		UIDir:         filepath.Join(root, "bin", "jaeger-ui"),
		DataDir:       filepath.Join(dir, "data"),
		LogFile:       filepath.Join(dir, "jaeger.log"),
		OTLPPort:      tracingtest.FreePort(t),
		CollectorPort: tracingtest.FreePort(t),
		QueryPort:     tracingtest.FreePort(t),
	}
}

// repository returns the root of the tree that the test runs in.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "deploy", "jaeger")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("the test does not run inside the repository")
		}
		dir = filepath.Dir(dir)
	}
}
