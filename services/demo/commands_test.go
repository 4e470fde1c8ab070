package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A demo that stays up, under the hands of a person: whatever is stopped and killed, nothing is lost.
func TestCommandsToARunningDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the whole system")
	}
	work, err := os.MkdirTemp("", "demo") // the path of a socket must be short
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(work) })
	printed, err := os.CreateTemp(work, "out")
	require.NoError(t, err)
	defer printed.Close()
	said := func() string { return output(printed.Name()).read(t) }
	_, err = attach(t.Context(), &demo{work: work})
	require.ErrorIs(t, err, errNoDemo)

	folder := work + "/demo"
	running, out := startDemo(t, demoSettings{Work: folder, Ports: freePorts(t), Stay: true})
	eventually(t, "the story is told", func() bool { return t.Failed() || strings.Contains(out.read(t), "Ctrl-C stops everything") })
	a, err := attach(t.Context(), &demo{work: folder, screen: newScreen(printed)})
	require.NoError(t, err)
	whole := func() {
		t.Helper()
		r, err := a.judge(t.Context())
		require.NoError(t, err)
		require.True(t, r.NothingLost(), "%s: %v", r, r.Problems)
	}

	require.NoError(t, a.change(t.Context(), "jaeger", "stop"))
	require.NoError(t, a.send(t.Context(), []string{"6", "7", "hello"}))
	assert.Contains(t, said(), "6 has arrived: http://localhost:")
	assert.Contains(t, said(), `"hello" is no number`)
	require.NoError(t, a.status(t.Context()))
	require.NoError(t, a.change(t.Context(), "jaeger", "start"))
	require.Error(t, a.change(t.Context(), "jaeger", "start"), "it runs")
	whole()

	for _, part := range []string{"jaeger", "console", "relay", "random", "answer", "sentence", "stream"} {
		require.NoError(t, a.change(t.Context(), part, "kill"))
		require.NoError(t, a.sendMany(t.Context(), 10, 100), part)
		whole()
		assert.Contains(t, out.read(t), part+" runs again")
	}
	numbers, _, err := a.fedNow(t.Context())
	require.NoError(t, err)
	sent := make(chan error, 1)
	go func() { sent <- a.sendMany(t.Context(), 400, 100) }()
	for i, actions := range [][]string{{"kill"}, {"stop", "start"}, {"kill"}} { // the last time with what an end in order has left
		eventually(t, "numbers flow", func() bool {
			return len(sent) > 0 /* it has failed */ || numbers.Read(t.Context()) == nil && len(numbers.Fed) > 80*(i+1)
		})
		for _, action := range actions {
			require.NoError(t, a.change(t.Context(), "kafka", action))
		}
	}
	require.NoError(t, <-sent)
	whole()
	assert.Equal(t, 2, strings.Count(out.read(t), "kafka runs again"))

	require.NoError(t, a.poison(t.Context()))
	r, err := a.judge(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 1, r.SetAside)
	assert.True(t, a.tell(r), "%v", r.Problems)
	assert.Contains(t, said(), "lost 0")

	require.ErrorContains(t, a.change(t.Context(), "nobody", "kill"), "want kafka, jaeger, console, relay, random, answer, sentence, stream")
	require.ErrorContains(t, a.do(t.Context(), "relay", "paint"), "is not stop, start or kill")
	require.NoError(t, running.Process.Signal(os.Interrupt))
	assert.NoError(t, running.Wait())
}
