package dispatch

import (
	"testing"
	"time"
)

func TestBreakerOpens(t *testing.T) {
	for _, tt := range []struct {
		name  string
		steps []any // failures, or whether a success was a probe
		want  bool
	}{
		{"closed at first", nil, false},
		{"four failures may be chance", []any{failure{}, failure{}, failure{}, failure{}}, false},
		{"five are not", []any{failure{}, failure{}, failure{}, failure{}, failure{}}, true},
		{"a success between begins anew", []any{failure{}, failure{}, failure{}, false, failure{}, failure{}}, false},
		{"the same attempt again, and nothing went through", []any{failure{}, failure{again: true}}, true},
		{"what is explained does not count", []any{failure{explained: true}, failure{explained: true}, failure{explained: true}, failure{explained: true}, failure{explained: true, again: true}}, false},
		{"a success that is no probe does not close it", []any{failure{again: true}, false}, true},
		{"a probe does", []any{failure{again: true}, true}, false},
		{"and failures count anew", []any{failure{again: true}, true, failure{}, failure{}, failure{}, failure{}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBreaker()
			for _, step := range tt.steps {
				switch s := step.(type) {
				case failure:
					was := b.open
					if opened := b.fail(time.Now(), s); opened != (b.open && !was) {
						t.Errorf("%+v: opened is %v", s, opened)
					}
				case bool:
					was := b.open
					if closed := b.succeed(s); closed != (was && !b.open) {
						t.Errorf("closed is %v", closed)
					}
				}
			}
			if b.open != tt.want {
				t.Errorf("open: %v, want %v", b.open, tt.want)
			}
		})
	}
}

func TestBreakerWaits(t *testing.T) {
	now := time.Unix(0, 0)
	opened := failure{again: true, answered: true}
	for _, tt := range []struct {
		name     string
		failures []failure // after it has opened
		min, max time.Duration
	}{
		{"little at first", []failure{opened}, 40 * time.Millisecond, 60 * time.Millisecond},
		{"then longer", []failure{opened, {probe: true}}, 80 * time.Millisecond, 120 * time.Millisecond},
		{"at most half a second", []failure{opened, {probe: true}, {probe: true}, {probe: true}, {probe: true}, {probe: true}, {probe: true}}, 330 * time.Millisecond, maxWait},
		{"what began before tells nothing new", []failure{opened, {}, {}, {}, {}}, 40 * time.Millisecond, 60 * time.Millisecond},
		{"as long as it asks for", []failure{opened, {probe: true, after: 3 * time.Second}}, 3 * time.Second, 3 * time.Second},
		{"whatever another probe says", []failure{opened, {probe: true, after: 3 * time.Second}, {probe: true}}, 3 * time.Second, 3 * time.Second},
		{"also if it asks when it answers what began before", []failure{opened, {after: 3 * time.Second}}, 3 * time.Second, 3 * time.Second},
		{"not at all before another one that was not tried yet", []failure{opened, {probe: true, answered: true, untried: true}}, 0, 0},
		{"but if it was not reached", []failure{opened, {probe: true, untried: true}}, 80 * time.Millisecond, 120 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBreaker()
			for _, f := range tt.failures {
				b.fail(now, f)
			}
			if got := b.retryAt.Sub(now); got < tt.min || got > tt.max {
				t.Errorf("waits %v, want %v to %v", got, tt.min, tt.max)
			}
		})
	}
}

// So that an endpoint in trouble is not flooded.
func TestBreakerBoundsQuickProbes(t *testing.T) {
	b := newBreaker()
	now := time.Unix(0, 0)
	b.fail(now, failure{again: true})
	quick := 0
	for range 3 * quickProbes {
		if b.fail(now, failure{probe: true, answered: true, untried: true}); !b.retryAt.After(now) {
			quick++
		}
	}
	if quick != quickProbes {
		t.Errorf("%d probes without a wait, want %d", quick, quickProbes)
	}
	now, quick = now.Add(time.Second), 0
	for range 3 * quickProbes {
		if b.fail(now, failure{probe: true, answered: true, untried: true}); !b.retryAt.After(now) {
			quick++
		}
	}
	if quick != quickProbeRate {
		t.Errorf("%d probes without a wait a second later, want %d", quick, quickProbeRate)
	}
}
