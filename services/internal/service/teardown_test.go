package service

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestTeardownRunsLastInFirstOutAndOnce(t *testing.T) {
	var down Teardown
	var order []string
	boom := errors.New("boom")
	for _, name := range []string{"tracer", "producer", "http server"} {
		down.Add(name, func(context.Context) error {
			order = append(order, name)
			if name == "http server" {
				return nil
			}
			return boom
		})
	}
	err := down.Run(time.Minute)
	assert.ErrorIs(t, err, boom)
	assert.EqualError(t, err, "close producer: boom\nclose tracer: boom")
	assert.Equal(t, []string{"http server", "producer", "tracer"}, order)

	assert.Equal(t, err, down.Run(time.Minute))
	assert.Len(t, order, 3)
}

func TestTeardownWithoutStepsIsNoError(t *testing.T) {
	assert.NoError(t, new(Teardown).Run(time.Second))
}

func TestTeardownIsBoundedAndLeavesTimeForTheLastStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down Teardown
		release := make(chan struct{})
		down.Add("last", func(ctx context.Context) error {
			<-ctx.Done()
			return errors.New("5 left behind")
		})
		down.Add("deaf", func(context.Context) error { <-release; return nil })
		down.Add("heedful", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		begin := time.Now()
		err := down.Run(4 * time.Second)
		assert.EqualError(t, err, "close heedful: context deadline exceeded\nclose deaf: still busy after 1s\nclose last: 5 left behind")
		assert.Equal(t, 4*time.Second, time.Since(begin))
		close(release)
	})
}
