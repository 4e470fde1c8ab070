package main

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func startSleeper(t *testing.T) *child {
	t.Helper()
	c, err := startChild("sleeper", t.TempDir(), nil, nil, "/bin/sleep", "60")
	require.NoError(t, err)
	t.Cleanup(c.stop)
	return c
}

func TestWatchCountsFromTheFirstSpanToTheLast(t *testing.T) {
	c := startSleeper(t)
	counts := []int{0, 0, 40, 70, 70, 100}
	looks, begun := 0, 0
	r, err := parts{collector: c, kafka: c}.watch(context.Background(), 100, func(context.Context) (int, error) {
		looks++
		return counts[looks-1], nil
	}, func() { begun = looks })
	require.NoError(t, err)
	assert.Equal(t, 60, r.spans)
	assert.Equal(t, len(counts), looks)
	assert.Equal(t, 3, begun)
	assert.InDelta(t, (3 * every).Seconds(), r.took.Seconds(), every.Seconds()*2)
}

func TestWatchFailsWhenAProcessHasEnded(t *testing.T) {
	c := startSleeper(t)
	_, err := parts{collector: c, kafka: c}.watch(context.Background(), 100, func(context.Context) (int, error) {
		_ = c.cmd.Process.Signal(syscall.SIGKILL)
		<-c.done
		return 0, nil
	}, func() {})
	assert.ErrorContains(t, err, "sleeper ended by itself")
}

func TestWatchEndsWithItsContext(t *testing.T) {
	c := startSleeper(t)
	ctx, cancel := context.WithCancel(context.Background())
	_, err := parts{collector: c, kafka: c}.watch(ctx, 100, func(context.Context) (int, error) {
		cancel()
		return 0, nil
	}, func() {})
	assert.ErrorIs(t, err, context.Canceled)
}

func TestAChildThatFailsShowsTheEndOfItsLog(t *testing.T) {
	dir := t.TempDir()
	c, err := startChild("talker", dir, []string{"WORD=hello"}, nil, "/bin/sh", "-c", "echo $WORD; exit 3")
	require.NoError(t, err)
	assert.EqualError(t, c.wait(context.Background()), "talker failed; "+filepath.Join(dir, "talker.log")+" ends:\nhello")
}

func TestAChildUsesTimeAndMemory(t *testing.T) {
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("needs /proc")
	}
	c, err := startChild("spinner", t.TempDir(), nil, nil, "/bin/sh", "-c", "while :; do :; done")
	require.NoError(t, err)
	defer c.stop()
	require.Eventually(t, func() bool { return c.cpu() > 0 }, 10*time.Second, 10*time.Millisecond)
	assert.Positive(t, c.peak())
}

func TestAChildIsStoppedWithTheContext(t *testing.T) {
	c := startSleeper(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	assert.ErrorIs(t, c.wait(ctx), context.Canceled)
	assert.Error(t, c.check())
}
