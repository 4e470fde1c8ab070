package main

import (
	"math/rand/v2"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"fault-tolerant-tracing/services/internal/verdict"
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

func TestALargeRecordHoldsSpansOfTheirOwn(t *testing.T) {
	value := large(rand.New(rand.NewPCG(7, 7)))
	assert.Less(t, len(value), 900_000)
	spans, err := verdict.FromTopic(value)
	require.NoError(t, err)
	ids := map[string]bool{}
	for _, s := range spans {
		ids[s.ID] = true
		assert.Len(t, s.Process, 8)
	}
	assert.Len(t, ids, 10)
}
