package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"

	"fault-tolerant-tracing/services/internal/jaeger"
	"fault-tolerant-tracing/tracing/kafkaclient"
	"fault-tolerant-tracing/tracing/tracingtest"
)

func TestEachWayHasTheSameFaultsAndPoisonLast(t *testing.T) {
	nodes, clients := []string{"kafka"}, []string{"otlp-1"}
	first, again, other := contrastFaults(nodes, clients, 7), contrastFaults(nodes, clients, 7), contrastFaults(nodes, clients, 8)
	var same, met int
	names := map[string]bool{}
	for i, f := range first {
		names[f.name] = true
		assert.Equal(t, f.name, again[i].name, "the same seed")
		if f.name == other[i].name {
			same++
		}
		for _, w := range ways {
			if w.meets(f) {
				met++
			}
			assert.Equal(t, w.group == "" && (strings.Contains(f.name, "carrier") || strings.Contains(f.name, "Kafka") || strings.Contains(f.name, "poison")), !w.meets(f), f.name)
		}
	}
	assert.Len(t, names, len(first))
	assert.Less(t, same, len(first))
	assert.Equal(t, 4*len(first)-8, met)
	assert.Equal(t, "poison on tracing-topic", first[len(first)-1].name)

	extra, err := spare(first, time.Hour)
	require.NoError(t, err)
	assert.Greater(t, extra, 2*time.Minute)
	_, err = spare(first, 3*time.Minute)
	require.NoError(t, err, "the default")
	_, err = spare(first, time.Minute)
	require.Error(t, err)
}

// What has come to Jaeger is found by the ids that follow from the ledger. The rest waits on tracing-topic, was taken along by a kill, or is
// lost.
func TestTheCensusTellsWhatHasBecomeOfASpan(t *testing.T) {
	process := jaeger.StartForTest(t)
	query := jaeger.NewQuery(process.QueryURL())
	t.Cleanup(query.Close)
	began, dir := time.Now().Truncate(time.Microsecond), t.TempDir()
	// ledger says that a process has ended a trace each ten seconds, and how it has ended itself.
	ledger := func(life string, traces int, after string) {
		var text strings.Builder
		for n := range traces {
			fmt.Fprintf(&text, "%d %d\n", (n+1)*spansOfTrace, began.Add(time.Duration(n)*10*time.Second).UnixMicro())
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, life), []byte(text.String()+after), 0o600))
	}
	send := func(life string, traces int) {
		exporter, err := otlptracehttp.New(t.Context(), otlptracehttp.WithEndpointURL(process.OTLPEndpoint()))
		require.NoError(t, err)
		g, last := newOTelGenerator("direct-1", life, exporter), int64(0)
		for range traces {
			g.trace(func() int64 { last++; return last })
		}
		require.NoError(t, g.close(t.Context()))
	}
	spans := func(life string, from, to int64) (some []clientSpan) {
		for n := from; n <= to; n++ {
			some = append(some, clientSpan{life, n})
		}
		return some
	}
	ledger("whole", 3, "complete\n")
	send("whole", 2)
	ledger("killed", 4, "")
	send("killed", 1)

	c := &census{dir: dir, query: query}
	missing, err := c.missing(t.Context(), began, began.Add(time.Hour))
	require.NoError(t, err)
	assert.ElementsMatch(t, append(spans("whole", 9, 12), spans("killed", 5, 12)...), missing, "the last of killed were taken along")
	missing, err = c.missing(t.Context(), began.Add(time.Second), began.Add(10*time.Second))
	require.NoError(t, err)
	assert.ElementsMatch(t, spans("killed", 5, 8), missing)

	send("killed", 2)
	missing, err = c.missing(t.Context(), began, began.Add(25*time.Second))
	require.NoError(t, err)
	assert.ElementsMatch(t, append(spans("whole", 9, 12), spans("killed", 9, 12)...), missing, "more has come")

	phaseAt := func(at time.Time) int {
		if at.Before(began.Add(15 * time.Second)) {
			return 0
		}
		return 1
	}
	waits := map[clientSpan]bool{{"killed", 9}: true, {"killed", 1}: true, {"whole", 12}: true}
	assert.Equal(t, []tally{{Spans: 16}, {Spans: 8, Lost: 6, Waiting: 2, NotSent: 4}}, c.count(2, phaseAt, waits))
}

func TestWhatAGroupHasNotDoneWaits(t *testing.T) {
	b := tracingtest.StartBroker(t)
	b.CreateTopics(t, 3, "tracing-topic")
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()))
	require.NoError(t, err)
	defer client.Close()
	admin := kadm.NewClient(client)
	send := func(life string) {
		g, err := newGenerator(t.Context(), "otlp-1", life, kafkaclient.Cluster{Brokers: []string{b.Addr()}, ClientID: "otlp-1"}, "")
		require.NoError(t, err)
		last := int64(0)
		g.trace(func() int64 { last++; return last })
		require.NoError(t, g.close(t.Context()))
	}
	starts, err := admin.ListStartOffsets(t.Context(), "tracing-topic")
	require.NoError(t, err)
	require.NoError(t, admin.CommitAllOffsets(t.Context(), "group", starts.Offsets()))
	send("done")
	ends, err := admin.ListEndOffsets(t.Context(), "tracing-topic")
	require.NoError(t, err)
	waits, err := waiting(t.Context(), admin, []string{b.Addr()}, "group")
	require.NoError(t, err)
	assert.Len(t, waits, spansOfTrace, "it has done nothing so far")

	require.NoError(t, admin.CommitAllOffsets(t.Context(), "group", ends.Offsets()))
	send("not done")
	waits, err = waiting(t.Context(), admin, []string{b.Addr()}, "group")
	require.NoError(t, err)
	assert.Equal(t, map[clientSpan]bool{{"not done", 1}: true, {"not done", 2}: true, {"not done", 3}: true, {"not done", 4}: true}, waits)
}

func TestTheTableHasAllWaysSideBySide(t *testing.T) {
	trip := func(w way, tally []tally, phases ...phase) *trip {
		return &trip{proof: &proof{phases: phases}, way: w, tally: tally}
	}
	first, poison, last := phase{name: "no fault", lasted: 5 * time.Second}, phase{name: "poison", lasted: 3 * time.Second}, phase{name: "afterwards"}
	r := &contrastResult{Seed: 7, Duration: "2m0s", Took: "9m0s"}
	r.add(trip(ways[0], []tally{{Spans: 100}, {Spans: 90}, {Spans: 80, NotSent: 4}}, first, poison, last))
	careful := trip(ways[2], []tally{{Spans: 100}, {Spans: 90, Lost: 3, Waiting: 30}, {Spans: 80, Waiting: 60}}, first, poison, last)
	careful.byHand = []string{"poison"}
	r.add(careful)
	r.add(trip(ways[3], []tally{{Spans: 100}, {Spans: 81, Lost: 1}}, first, last))

	var text strings.Builder
	require.NoError(t, r.tell(&text, t.TempDir()))
	table := text.String()
	assert.Equal(t, `| fault      | s   | relay    | Collector, careful | direct   |
| ---        | --: | --:      | --:                | --:      |
| no fault   | 5   | 0 of 100 | 0 of 100           | 0 of 100 |
| poison     | 3   | 0 of 90  | 3 of 90, 30 wait   | –        |
| afterwards | 0   | 0 of 80  | 0 of 80, 60 wait   | 1 of 81  |
| all        |     | 0 of 270 | 3 of 270, 90 wait  | 1 of 181 |

relay: 4 more spans were not sent yet when their client was killed.
Collector, careful: 0 more spans were not sent yet when their client was killed. It stood still, and was started anew by hand, after: poison.
direct: 0 more spans were not sent yet when their client was killed.

`, table[strings.Index(table, "|"):])

	r.Ways[0].Total.Waiting = 1
	require.ErrorIs(t, r.tell(&text, t.TempDir()), errLost)
}
