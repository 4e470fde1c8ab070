package dispatch

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

func TestLuck(t *testing.T) {
	for _, tt := range []struct {
		name            string
		refused, passed int // of what went through in the end, one refusal before each
		split, setAside int // how many refusals it takes
	}{
		{"nothing known", 0, 0, 1, 8},
		{"all goes through", 0, 1000, 1, 8},
		{"every other one is refused", 1000, 0, 3, 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var l luck
			for range tt.passed {
				l.learn(0)
			}
			for range tt.refused {
				l.learn(1)
			}
			if got := refusals(&l, doubtSplit); got != tt.split {
				t.Errorf("split after %d refusals, want %d", got, tt.split)
			}
			if got := refusals(&l, doubtSetAside); got != tt.setAside {
				t.Errorf("set aside after %d refusals, want %d", got, tt.setAside)
			}
		})
	}
}

// refusals is how many it takes.
func refusals(l *luck, doubt float64) (n int) {
	for l.explains(n, doubt) {
		n++
	}
	return n
}

// Whatever the share of refusals, the innocent are set aside less than once in 10 000.
func TestLuckSparesTheInnocent(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	for _, share := range []float64{0.1, 0.3, 0.5, 0.7} {
		t.Run(fmt.Sprint(share), func(t *testing.T) {
			const attempts = 50_000
			var l luck
			wrong := 0
			for i := range attempts {
				n := 0
				for rng.Float64() < share {
					n++
				}
				if i > 10*luckWindow && !l.explains(n, doubtSetAside) {
					wrong++
				}
				l.learn(n)
			}
			if wrong > attempts/10_000 {
				t.Errorf("%d of %d set aside", wrong, attempts)
			}
		})
	}
}

func TestVerdictOf(t *testing.T) {
	err := errors.New("500")
	for _, tt := range []struct {
		name string
		err  error
		want verdict
	}{
		{"nothing", nil, verdict{}},
		{"any other", err, verdict{}},
		{"permanent", Permanent(err), verdict{permanent: true}},
		{"split", Split(err), verdict{split: true}},
		{"unreachable, and wrapped", fmt.Errorf("post: %w", Unreachable(err)), verdict{unreachable: true}},
		{"two at once", Conclusive(RetryAfter(err, time.Second)), verdict{conclusive: true, after: time.Second}},
		{"with words between", RetryAfter(fmt.Errorf("post: %w", Unreachable(err)), time.Second), verdict{unreachable: true, after: time.Second}},
		{"a long wait is cut", RetryAfter(err, time.Hour), verdict{after: maxRetryAfter}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := verdictOf(tt.err)
			if got.err = nil; got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			if tt.err != nil && !errors.Is(tt.err, err) {
				t.Error("the cause is gone")
			}
			if IsPermanent(tt.err) != tt.want.permanent {
				t.Error("IsPermanent is wrong")
			}
		})
	}
}
