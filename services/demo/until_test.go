package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestUntilGivesUpWhenThereIsNoProgress(t *testing.T) {
	d := &demo{screen: &screen{out: io.Discard}}
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		count := func(of int) func(context.Context, func(string)) (bool, error) {
			asked = 0
			return func(_ context.Context, progress func(string)) (bool, error) {
				asked++
				progress(fmt.Sprint(asked / 9))
				return asked == of, nil
			}
		}
		began := time.Now()
		require.NoError(t, d.until(t.Context(), time.Second, count(1000)))
		assert.Equal(t, 999*time.Second/10, time.Since(began))

		began = time.Now()
		err := d.until(t.Context(), time.Second, func(_ context.Context, progress func(string)) (bool, error) {
			progress("6 of 7")
			return false, nil
		})
		require.EqualError(t, err, "gave up after 1s without progress: 6 of 7")
		assert.Equal(t, time.Second, time.Since(began))

		asked = 0
		err = d.until(t.Context(), time.Second, func(context.Context, func(string)) (bool, error) {
			asked++
			return true, fmt.Errorf("refused %d", asked)
		})
		require.ErrorContains(t, err, "gave up after 1s without progress: refused ", "an error is none")

		err = d.until(t.Context(), time.Second, func(ctx context.Context, _ func(string)) (bool, error) {
			<-ctx.Done()
			return false, ctx.Err()
		})
		require.ErrorContains(t, err, "gave up after 1s", "nor is no answer")

		began = time.Now()
		require.NoError(t, d.until(t.Context(), time.Second, func(ctx context.Context, progress func(string)) (bool, error) {
			for i := range 100 {
				time.Sleep(time.Second / 10)
				progress(fmt.Sprint(i))
			}
			return true, ctx.Err()
		}), "it may tell while it works")
		assert.Equal(t, 10*time.Second, time.Since(began))

		ctx, stop := context.WithCancelCause(t.Context())
		cause := errors.New("the relay ended")
		time.AfterFunc(time.Second, func() { stop(cause) })
		require.ErrorIs(t, d.until(ctx, time.Hour, count(1000)), cause)
	})
}

func TestBar(t *testing.T) {
	for _, tt := range []struct {
		done, of int
		want     string
	}{
		{0, 0, "░░░░░░░░░░░░░░░░░░░░ 0 of 0 numbers"},
		{1, 100, "░░░░░░░░░░░░░░░░░░░░ 1 of 100 numbers"},
		{50, 100, "██████████░░░░░░░░░░ 50 of 100 numbers"},
		{99, 100, "███████████████████░ 99 of 100 numbers"},
		{100, 100, "████████████████████ 100 of 100 numbers"},
		{101, 100, "████████████████████ 101 of 100 numbers"},
	} {
		assert.Equal(t, tt.want, bar(tt.done, tt.of, "numbers"))
	}
}
