package local

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fakeLife is a process of which the test decides when it ends.
type fakeLife struct{ over chan struct{} }

func (l fakeLife) Stop(context.Context) error { return l.Kill() }
func (l fakeLife) Freeze() error              { return nil }
func (l fakeLife) Thaw() error                { return nil }
func (l fakeLife) Group() int                 { return 0 }
func (l fakeLife) Done() <-chan struct{}      { return l.over }
func (l fakeLife) Ended() error               { return errors.New("relay ended") }

func (l fakeLife) Kill() error {
	close(l.over)
	return nil
}

// fakePart is a part with a record of its starts and of what it tells.
type fakePart struct {
	*Part
	ctx    context.Context
	end    context.CancelFunc
	lives  []fakeLife
	began  []time.Time
	broken error // of the next starts
	told   []string
}

func newFakePart(t *testing.T, fatal func(error) bool) *fakePart {
	t.Helper()
	f := new(fakePart)
	f.ctx, f.end = context.WithCancel(t.Context())
	f.Part = &Part{
		Name: "relay", Fatal: fatal,
		Launch: func(context.Context) (Process, error) {
			f.began = append(f.began, time.Now())
			if f.broken != nil {
				return nil, f.broken
			}
			f.lives = append(f.lives, fakeLife{make(chan struct{})})
			return f.lives[len(f.lives)-1], nil
		},
		Tell: func(format string, args ...any) { f.told = append(f.told, fmt.Sprintf(format, args...)) },
	}
	require.NoError(t, f.Start(f.ctx))
	return f
}

func never(error) bool { return false }

// pass lets so much time go by.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestWhatEndsIsStartedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakePart(t, never)
		defer f.end()
		assert.Equal(t, "runs since "+time.Now().Format(time.TimeOnly), f.State())
		require.NoError(t, f.Kill())
		synctest.Wait()
		assert.Equal(t, "has ended and will be started again", f.State())
		pass(time.Second)
		assert.Len(t, f.lives, 2)
		assert.Equal(t, []string{"relay ended", "relay is started again in 500ms", "relay runs again"}, f.told)
		require.Error(t, f.Start(f.ctx), "it runs")
		require.NoError(t, f.Stop(f.ctx))
		assert.Equal(t, "stopped", f.State())
		pass(time.Minute)
		assert.Len(t, f.lives, 2, "it was stopped on purpose")
		require.Error(t, f.Kill())
		require.NoError(t, f.Stop(f.ctx), "again")

		require.NoError(t, f.Start(f.ctx))
		require.NoError(t, f.Kill())
		pass(time.Second)
		assert.Len(t, f.lives, 4)
		require.NoError(t, f.Stop(f.ctx))
	})
}

func TestTheWaitGrowsFromFailureToFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakePart(t, never)
		defer f.end()
		f.mu.Lock()
		f.broken = errors.New("its port is taken")
		f.mu.Unlock()
		require.NoError(t, f.Kill())
		pass(time.Minute)
		gap := func(i int) time.Duration { return f.began[i].Sub(f.began[i-1]) }
		assert.Equal(t, 500*time.Millisecond, gap(1))
		assert.Greater(t, gap(2), gap(1))
		assert.Equal(t, 10*time.Second, gap(len(f.began)-1), "the longest")
		assert.Contains(t, f.told, "its port is taken")

		f.mu.Lock()
		f.broken = nil
		f.mu.Unlock()
		pass(time.Minute)
		f.mu.Lock()
		f.told = nil
		f.mu.Unlock()
		require.NoError(t, f.Kill())
		pass(time.Second)
		assert.Equal(t, []string{"relay ended", "relay is started again in 500ms", "relay runs again"}, f.told, "it had run for long")
		require.NoError(t, f.Stop(f.ctx))
	})
}

func TestWhatIsStoppedWhileItWaitsStaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakePart(t, never)
		defer f.end()
		require.NoError(t, f.Kill())
		synctest.Wait()
		f.mu.Lock()
		f.process = nil // as stop does with what still runs
		f.mu.Unlock()
		pass(time.Minute)
		assert.Len(t, f.lives, 1)
	})
}

func TestNothingIsStartedWhenAllEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakePart(t, never)
		require.NoError(t, f.Kill())
		synctest.Wait()
		f.end()
		pass(time.Minute)
		assert.Len(t, f.lives, 1)
	})
}

func TestAnEndMayEndEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failed error
		f := newFakePart(t, func(err error) bool {
			failed = err
			return true
		})
		defer f.end()
		require.NoError(t, f.Kill())
		pass(time.Minute)
		assert.EqualError(t, failed, "relay ended")
		assert.Len(t, f.lives, 1)
		assert.Empty(t, f.told)
	})
}
