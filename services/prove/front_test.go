package main

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fault-tolerant-tracing/tracing/tracingtest"
)

// Each way of spoiling answers does to a post what it says, and nothing else.
func TestTheFrontSpoilsAnswers(t *testing.T) {
	var stored atomic.Int32
	jaeger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		assert.Equal(t, "spans", string(body))
		stored.Add(1)
		_, _ = io.WriteString(w, "{}")
	}))
	t.Cleanup(jaeger.Close)
	port := tracingtest.FreePort(t)
	f, stop, err := startFront(port, jaeger.URL+"/v1/traces")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, stop(context.Background())) })
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	post := func(ctx context.Context) (status int, body string, err error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr(port)+"/v1/traces", strings.NewReader("spans"))
		require.NoError(t, err)
		resp, err := client.Do(req)
		if err != nil {
			return 0, "", err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(text), err
	}
	const times = 40
	for _, test := range []struct {
		name    string
		spoil   func(*dice) answer
		status  int    // of what is spoiled; 0: no answer
		body    string // of that
		broken  bool   // it breaks off
		spoiled [2]int // how often, from and to
		stored  [2]int // the same
	}{
		{"500", halfOf(status(500)), 500, "Internal Server Error", false, [2]int{5, 35}, [2]int{5, 35}},
		{"redirect", always(status(302, "Location", "/login")), 302, "Found", false, [2]int{times, times}, [2]int{0, 0}},
		{"web page", always(status(200, "Content-Type", "text/html")), 200, "OK", false, [2]int{times, times}, [2]int{0, 0}},
		{"lie", halfOf(lie), 200, `{"partial`, true, [2]int{5, 35}, [2]int{5, 35}},
		{"cut", cut, 0, "", true, [2]int{times, times}, [2]int{5, 35}},
	} {
		t.Run(test.name, func(t *testing.T) {
			stored.Store(0)
			spoil := test.spoil(&dice{r: rand.New(rand.NewPCG(1, 1))})
			f.spoiled.Store(&spoil)
			spoiled := 0
			for range times {
				status, body, err := post(t.Context())
				if body == "{}" {
					assert.Equal(t, 200, status)
					assert.NoError(t, err)
					continue
				}
				spoiled++
				assert.Equal(t, test.status, status)
				assert.Equal(t, test.body, body)
				assert.Equal(t, test.broken, err != nil, "%v", err)
			}
			assert.GreaterOrEqual(t, spoiled, test.spoiled[0])
			assert.LessOrEqual(t, spoiled, test.spoiled[1])
			assert.GreaterOrEqual(t, int(stored.Load()), test.stored[0])
			assert.LessOrEqual(t, int(stored.Load()), test.stored[1])
		})
	}

	spoil := answer(never)
	f.spoiled.Store(&spoil)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, _, err = post(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)

	f.spoiled.Store(nil)
	_, body, err := post(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "{}", body)
	jaeger.Close()
	_, _, err = post(t.Context())
	require.ErrorIs(t, err, io.EOF, "nobody answers in its place")
}
