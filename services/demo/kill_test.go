package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The whole demo: killed outright while everything runs, it leaves nothing behind, and the next run on the same ports starts
// from a clean state and loses nothing.
func TestDemoKilledLeavesNothingAndRunsAgain(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the whole system twice")
	}
	settings := demoSettings{Work: t.TempDir(), Ports: freePorts(t)}

	first, out := startDemo(t, settings)
	eventually(t, "everything runs", func() bool {
		return len(descendants(t, first.Process.Pid)) >= 2*6 && strings.Contains(out.read(t), "are ready")
	})
	family := descendants(t, first.Process.Pid)
	require.NoError(t, first.Process.Kill())
	_ = first.Wait()
	eventually(t, "nothing is left", func() bool { return len(alive(t, family)) == 0 })

	second, out := startDemo(t, settings)
	assert.NoError(t, second.Wait(), "the second run")
	assert.Contains(t, out.read(t), "traces 100/100, spans 550/550, lost 0")
	assert.NotContains(t, out.read(t), "\033", "colours, though this is no terminal")
}

// output is what a demo prints, in a file that the test can read meanwhile.
type output string

func (o output) read(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(string(o))
	require.NoError(t, err)
	return string(text)
}

func startDemo(t *testing.T, settings demoSettings) (*exec.Cmd, output) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	text, err := json.Marshal(settings)
	require.NoError(t, err)
	file, err := os.CreateTemp(t.TempDir(), "out")
	require.NoError(t, err)
	defer file.Close()

	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), demoInTest+"="+string(text))
	cmd.Stdout, cmd.Stderr = file, file
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		if t.Failed() {
			t.Logf("the demo printed:\n%s", output(file.Name()).read(t))
		}
	})
	return cmd, output(file.Name())
}

// descendants returns the processes below pid.
func descendants(t *testing.T, pid int) []int {
	t.Helper()
	parents := processes(t)
	var found []int
	for queue := []int{pid}; len(queue) > 0; queue = queue[1:] {
		for child, parent := range parents {
			if parent == queue[0] {
				found, queue = append(found, child), append(queue, child)
			}
		}
	}
	return found
}

// alive returns those of the processes that still run.
func alive(t *testing.T, pids []int) []int {
	t.Helper()
	running := processes(t)
	return slices.DeleteFunc(slices.Clone(pids), func(pid int) bool { _, ok := running[pid]; return !ok })
}

// processes returns the parent of each process of this machine, those left out that have ended and only wait to be asked.
func processes(t *testing.T) map[int]int {
	t.Helper()
	list, err := exec.Command("ps", "-A", "-o", "pid=,ppid=,stat=").Output()
	require.NoError(t, err)
	parents := map[int]int{}
	for line := range bytes.Lines(list) {
		fields := strings.Fields(string(line))
		require.Len(t, fields, 3, "line of ps: %q", line)
		pid, err := strconv.Atoi(fields[0])
		require.NoError(t, err)
		parent, err := strconv.Atoi(fields[1])
		require.NoError(t, err)
		if !strings.HasPrefix(fields[2], "Z") {
			parents[pid] = parent
		}
	}
	return parents
}
