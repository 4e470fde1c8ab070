package main

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestALimitIsLifted(t *testing.T) {
	process := exec.Command("sleep", "60")
	require.NoError(t, process.Start())
	t.Cleanup(func() { _ = process.Process.Kill(); _ = process.Wait() })
	limitNow := func() (now unix.Rlimit) {
		require.NoError(t, unix.Prlimit(process.Process.Pid, unix.RLIMIT_NOFILE, nil, &now))
		return now
	}
	before := limitNow()
	lift, err := limit(process.Process.Pid, unix.RLIMIT_NOFILE, 5)
	require.NoError(t, err)
	assert.Equal(t, unix.Rlimit{Cur: 5, Max: before.Max}, limitNow())
	lift()
	assert.Equal(t, before, limitNow())
}
