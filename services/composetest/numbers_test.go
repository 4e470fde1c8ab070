package composetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What make numbers appends, and what it refuses. It needs no Docker.
func TestMakeNumbers(t *testing.T) {
	script, err := os.ReadFile("../../deploy/compose")
	require.NoError(t, err)
	long := strings.Repeat("7", 100)
	const file = "data/live/numbers.txt"
	for _, tt := range []struct {
		name, before, n, says, after string // says: the error, if after is before
	}{
		{"one", "50\n", "1", "number 51 is appended to " + file, "50\n51\n"},
		{"some", "-2\n", "3", "numbers -1 to 1 are appended to " + file, "-2\n-1\n0\n1\n"},
		{"none", "50\n", "0", "N=0: N is how many numbers to append, 1 to 999999, as in make numbers N=20", "50\n"},
		{"no number", "50\n", "abc", "N=abc: N is how many numbers to append, 1 to 999999, as in make numbers N=20", "50\n"},
		{"octal", "50\n", "08", "N=08: N is how many numbers to append, 1 to 999999, as in make numbers N=20", "50\n"},
		{"too many", "50\n", "1000000", "N=1000000: N is how many numbers to append, 1 to 999999, as in make numbers N=20", "50\n"},
		{"nothing to count on from", "", "3", file + ": no numbers", ""},
		{"text at the end", "50\nhello\n", "3", file + ": the last line is no number to count on from: hello", "50\nhello\n"},
		{"a long line at the end", long + "\n", "3", file + ": the last line is no number to count on from: " + long[:60], long + "\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.MkdirAll(filepath.Join(dir, "deploy"), 0o755))
			require.NoError(t, os.MkdirAll(filepath.Join(dir, "data/live"), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "deploy/compose"), script, 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(tt.before), 0o644))
			cmd := exec.Command("deploy/compose", "numbers", tt.n)
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "COMPOSE=false", "DOCKER_HOST=unix:///nowhere") // whatever runs or was built here
			out, err := cmd.CombinedOutput()
			assert.Equal(t, tt.before == tt.after, err != nil, "%v", err)
			assert.Equal(t, tt.says, strings.TrimSpace(string(out)))
			after, err := os.ReadFile(filepath.Join(dir, file))
			require.NoError(t, err)
			assert.Equal(t, tt.after, string(after))
		})
	}
}
