package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fault-tolerant-tracing/services/internal/verdict"
)

func TestTheTableHasEachFaultAndAllTogether(t *testing.T) {
	began := time.Now()
	p := &proof{seed: 7, duration: time.Minute, began: began, phases: []phase{
		{"no fault", began, 5 * time.Second, 0},
		{"relay killed", began.Add(5 * time.Second), 3 * time.Second, 1500 * time.Millisecond},
		{"afterwards", began.Add(10 * time.Second), 0, 0},
	}}
	assert.Equal(t, 0, p.phaseAt(began.Add(-time.Hour)))
	assert.Equal(t, 1, p.phaseAt(began.Add(5*time.Second)))
	assert.Equal(t, 2, p.phaseAt(began.Add(time.Hour)))

	clients := &clientSpans{Ended: 90, Lives: 3, Killed: 1, Oldest: 900 * time.Millisecond, lost: map[int]int{}, notSent: map[int]int{1: 4}}
	v := verdict.Result{NumbersFed: 10, NumbersArrived: 10, TracesExpected: 10, Traces: 8, Chains: 10, Phases: []verdict.Phase{
		{Sent: 100, Found: 100}, {Sent: 50, Found: 48, Duplicated: 3, SetAside: 2},
	}}
	r := p.result(v, clients)
	var text strings.Builder
	r.write(&text)
	table := text.String()
	i := strings.Index(table, "|")
	require.Positive(t, i)
	assert.Equal(t, `| fault        | s   | sent | found | duplicated | set aside | changed | lost | not sent | recovered after, s |
| ---          | --: | --:  | --:   | --:        | --:       | --:     | --:  | --:      | --:                |
| no fault     | 5   | 100  | 100   | 0          | 0         | 0       | 0    | 0        | 0.0                |
| relay killed | 3   | 50   | 48    | 3          | 2         | 0       | 0    | 4        | 1.5                |
| afterwards   | 0   | 0    | 0     | 0          | 0         | 0       | 0    | 0        | 0.0                |
| all          | 8   | 150  | 148   | 3          | 2         | 0       | 0    | 4        | 1.5                |

Numbers: 10 of 10 arrived, and 10 have their whole chain of spans in Jaeger; of these, 2 hold more, as work was done again.
Clients: 3 processes, 1 of them killed, ended 90 spans. What a kill took along had ended 0.9 s before it at most.
`, table[i:])
	assert.True(t, r.Kept)

	clients.lost[1] = 1
	assert.False(t, p.result(v, clients).Kept)
	clients.lost[1] = 0
	v.Phases[0].Changed = 1
	assert.False(t, p.result(v, clients).Kept)
	v.Phases[0].Changed, v.NumbersArrived = 0, 9
	assert.False(t, p.result(v, clients).Kept)
}
