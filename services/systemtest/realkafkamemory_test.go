package systemtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	thriftgen "github.com/uber/jaeger-client-go/thrift-gen/jaeger"
)

// relayMemory is what docker-compose.yml and deploy/kubernetes/pod.yaml give a relay.
const relayMemory = 256 << 20

// What the client fetches at a time is unpacked at once. librdkafka bounds what zstd
// unpacks to, and no other codec. The most that the relay ever had in memory, in MB,
// after one batch, by its size unpacked and that of its records (2 cores, librdkafka
// 2.11.1; zstd, lz4 and gzip are alike; 37 without any):
//
//	          4 MiB  8  16   30   64   98
//	108 bytes    74  92 124  182
//	791 bytes        71  90  114  162  212
//	one record       53  70  100
//
// 20 batches of 7 MB, which are small enough to come together: 187; one of 30 MB in
// each of six partitions: 220; five in each: 636.
func TestRealKafkaABatchOf98MBFitsIntoTheMemory(t *testing.T) {
	t.Parallel()
	s, collector := newFakedSystem(t, 0)
	s.stop("relay")
	binary := filepath.Join(t.TempDir(), "relay") // without the race detector, which takes memory of its own
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../relay").CombinedOutput()
	require.NoError(t, err, "%s", out)
	relay := startProcess(t, "relay", s.procs["relay"].log, append(s.env("relay"), "GROUP_INSTANCE_ID="), binary)
	s.procs["relay"] = relay
	s.ready("relay")

	const trace = 1
	value := encode(&thriftgen.Batch{Process: &thriftgen.Process{ServiceName: "killed"}, Spans: []*thriftgen.Span{
		{TraceIdLow: trace, SpanId: 1, OperationName: strings.Repeat("work", 180), Flags: 1},
	}})
	s.produceTo(0, kgo.Lz4Compression(), slices.Repeat([][]byte{value}, 98*megabyte/len(value))...)
	s.committed("tracing-relay")
	assert.Equal(t, 98*megabyte/len(value), collector.spans(trace))
	peak := peakOf(t, relay)
	t.Logf("%d MB", peak/megabyte)
	assert.Less(t, peak, relayMemory)
	s.stop("relay")
}

var peakLine = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// peakOf returns the most memory, in bytes, that a process has had.
func peakOf(t *testing.T, p *process) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	require.NoError(t, err)
	found := peakLine.FindSubmatch(status)
	require.NotNil(t, found, "%s", status)
	kilobytes, err := strconv.Atoi(string(found[1]))
	require.NoError(t, err)
	return kilobytes << 10
}
