package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"fault-tolerant-tracing/services/internal/dispatch"
)

// What is found by a look a second has the times that the relay knows, where it does.
func TestOutagesHaveTheTimesOfTheRelay(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(seconds float64) time.Time { return began.Add(time.Duration(seconds * float64(time.Second))) }
	type look struct {
		at     float64
		jaeger bool
		relay  dispatch.State
		since  float64
	}
	const delivering, holding = dispatch.Delivering, dispatch.Holding
	for _, tt := range []struct {
		name  string
		looks []look
		want  []outage
	}{
		{"none", []look{{1, true, delivering, 0}}, nil},
		{"one that the relay does not notice", []look{{1, true, delivering, 0}, {2, false, delivering, 0}, {3, false, delivering, 0}, {4, true, delivering, 0}},
			[]outage{{at(2), at(4)}}},
		{"the relay knew first, and when it was over", []look{{2, false, delivering, 0}, {3, false, holding, 1.2}, {4, true, holding, 1.2}, {5, true, delivering, 4.1}},
			[]outage{{at(1.2), at(4.1)}}},
		{"the relay notices later", []look{{2, false, delivering, 0}, {9, false, holding, 7.5}}, []outage{{From: at(2)}}},
		{"only the relay notices", []look{{2, true, holding, 0.5}}, []outage{{From: at(0.5)}}},
		{"the relay was started in it", []look{{2, false, delivering, 0}, {3, false, "", 0}, {4, false, delivering, 3.5}, {5, true, delivering, 3.5}},
			[]outage{{at(2), at(5)}}},
		{"two", []look{{2, false, holding, 1}, {3, true, delivering, 2.5}, {4, false, delivering, 2.5}, {5, false, holding, 1}}, []outage{{at(1), at(2.5)}, {From: at(4)}}},
		{"one is forgotten", []look{{2, false, delivering, 0}, {3, true, delivering, 0}, {604, true, delivering, 0}}, []outage{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var o outages
			var got []outage
			for _, l := range tt.looks {
				got = o.look(state{At: at(l.at), Jaeger: peer{Up: l.jaeger}, Relay: relayState{State: l.relay, Since: at(l.since)}})
			}
			assert.Equal(t, tt.want, got)
		})
	}
}
