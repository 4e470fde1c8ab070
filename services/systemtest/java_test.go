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

// java returns a command that runs Java with the jars in a folder and at most so
// many megabytes of heap.
func java(binary, jars string, heap int) []string {
	return []string{
		binary, fmt.Sprintf("-Xmx%dm", heap), "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", // quick to start rather than quick
		"-Dorg.slf4j.simpleLogger.showDateTime=true", "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
		"-cp", filepath.Join(jars, "*"),
	}
}

// findJava returns a program of Java, "java" or "javac", of at least that
// version. It looks where Java usually is: JAVA_HOME, the PATH, and the folders
// that Linux distributions and macOS install it to.
func findJava(program string, version int) (string, error) {
	candidates := []string{filepath.Join(os.Getenv("JAVA_HOME"), "bin", program)}
	if onPath, err := exec.LookPath(program); err == nil {
		candidates = append(candidates, onPath)
	}
	for _, folder := range []string{"/usr/lib/jvm/*/bin", "/Library/Java/JavaVirtualMachines/*/Contents/Home/bin"} {
		installed, _ := filepath.Glob(filepath.Join(folder, program)) // fails for malformed patterns only
		candidates = append(candidates, installed...)
	}
	for _, c := range candidates {
		if javaVersion(c) >= version {
			return filepath.EvalSymlinks(c)
		}
	}
	return "", fmt.Errorf("needs %s of Java %d or newer, and there is none in JAVA_HOME, on the PATH or where it is usually installed", program, version)
}

var versionLine = regexp.MustCompile(`(?:version "|javac )(\d+)`)

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
