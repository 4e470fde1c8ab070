package systemtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// needKafka skips a test that needs a real Kafka where there is none: `make
// test-kafka` says where its jars are.
func needKafka(t *testing.T) {
	t.Helper()
	if os.Getenv("KAFKA_JARS") == "" {
		t.Skip("needs Apache Kafka: make test-kafka")
	}
}

// java returns a command that runs Java of at least that version with the jars
// in a folder and at most so many megabytes of heap.
func java(version int, jars string, heap int) ([]string, error) {
	binary, err := findJava(version)
	if err != nil {
		return nil, err
	}
	return []string{
		binary, fmt.Sprintf("-Xmx%dm", heap), "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", // quick to start rather than quick
		"-Dorg.slf4j.simpleLogger.showDateTime=true", "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
		"-cp", filepath.Join(jars, "*"),
	}, nil
}

// findJava looks where Java usually is: JAVA_HOME, the PATH, and the folders
// that Linux distributions and macOS install it to.
func findJava(version int) (string, error) {
	candidates := []string{filepath.Join(os.Getenv("JAVA_HOME"), "bin", "java")}
	if onPath, err := exec.LookPath("java"); err == nil {
		candidates = append(candidates, onPath)
	}
	for _, pattern := range []string{"/usr/lib/jvm/*/bin/java", "/Library/Java/JavaVirtualMachines/*/Contents/Home/bin/java"} {
		installed, _ := filepath.Glob(pattern) // fails for malformed patterns only
		candidates = append(candidates, installed...)
	}
	for _, c := range candidates {
		if javaVersion(c) >= version {
			return c, nil
		}
	}
	return "", fmt.Errorf("needs Java %d or newer, and there is none in JAVA_HOME, on the PATH or where it is usually installed", version)
}

var versionLine = regexp.MustCompile(`version "(\d+)`)

// javaVersion is 0 for what is no Java.
func javaVersion(binary string) int {
	out, err := exec.Command(binary, "-version").CombinedOutput()
	if err != nil {
		return 0
	}
	m := versionLine.FindSubmatch(out)
	if m == nil {
		return 0
	}
	version, _ := strconv.Atoi(string(m[1])) // digits
	return version
}
