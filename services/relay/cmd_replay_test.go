package main

import (
	"fault-tolerant-tracing/services/internal/collectortest"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// record is one of tracing-topic with these spans, written so long ago.
func (d *desk) record(age time.Duration, operations ...string) *kgo.Record {
	d.t.Helper()
	return &kgo.Record{Topic: topic, Timestamp: time.Now().Add(-age), Value: newBatch(d.t, operations...)}
}

func TestReplayByTime(t *testing.T) {
	collector := collectortest.Start(t, collectortest.Status(202))
	d := newDesk(t, "http://127.0.0.1:1/nobody")
	d.produce(d.record(3*time.Hour, "old"), d.record(50*time.Minute, "half"), d.record(2*time.Hour, "late"), d.record(0, "now"))
	to := collector.URL()
	sent := func(operations ...string) {
		t.Helper()
		got := map[string]int{}
		for _, operation := range []string{"old", "half", "late", "now"} {
			if n := collector.Taken(operation); n > 0 {
				got[operation] = n
			}
		}
		want := map[string]int{}
		for _, operation := range operations {
			want[operation]++
		}
		assert.Equal(t, want, got)
	}
	out, _, err := d.relay("replay", "--since", "1h", "--dry-run")
	require.NoError(t, err)
	assert.Equal(t, "would send 2 records with 2 spans of 1 trace\nSERVICE  RECORDS  SPANS\ntest     2        2\n", out)
	sent()

	out, _, err = d.relay("replay", "--since", "1h", "--endpoint", to)
	require.NoError(t, err)
	assert.Contains(t, out, "sent 2 records with 2 spans to "+to+" in ")
	sent("half", "now")

	hoursAgo := func(n float64) string {
		return time.Now().Add(time.Duration(-n * float64(time.Hour))).Format(localTime)
	}
	_, _, err = d.relay("replay", "--from", hoursAgo(2.5), "--to", hoursAgo(1.5), "--jaeger", collector.ThriftURL())
	require.NoError(t, err)
	sent("half", "now", "late")

	out, _, err = d.relay("replay", "--from", time.Now().Add(time.Hour).Format(time.RFC3339), "--endpoint", to)
	require.NoError(t, err)
	assert.Contains(t, out, "sent 0 records with 0 spans")

	groups, err := kadm.NewClient(d.client).ListGroups(t.Context())
	require.NoError(t, err)
	assert.Empty(t, groups)
}

func TestReplayOfATraceAndAService(t *testing.T) {
	collector := collectortest.Start(t, collectortest.Status(202))
	d := newDesk(t, collector.URL())
	d.produce(d.record(time.Hour, "a", "b"))
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--trace", "0000000000000001"}, "sent 1 record with 2 spans"},
		{[]string{"--trace", "2"}, "sent 0 records with 0 spans"},
		{[]string{"--since", "2h", "--service", "test"}, "sent 1 record with 2 spans"},
		{[]string{"--since", "2h", "--service", "other"}, "sent 0 records with 0 spans"},
	} {
		out, _, err := d.relay(append([]string{"replay"}, tt.args...)...)
		require.NoError(t, err)
		assert.Contains(t, out, tt.want, tt.args)
	}
}

func TestReplayListsWhatIsRefused(t *testing.T) {
	collector := collectortest.Start(t, func(w http.ResponseWriter, p collectortest.Post) {
		if slices.Contains(p.Operations, "poison") {
			http.Error(w, "no", 400)
		}
	})
	d := newDesk(t, collector.URL())
	d.produce(d.record(0, "poison"), d.record(0, "good"), &kgo.Record{Topic: topic, Value: []byte("garbage")})
	out, stderr, err := d.relay("replay", "--since", "1m")
	assert.EqualError(t, err, "2 records can never be delivered")
	assert.Contains(t, out, "sent 1 record with 1 span")
	assert.Contains(t, stderr, ", 1 span: jaeger answered 400 Bad Request: no\n")
	assert.Contains(t, stderr, ", 0 spans: no batch of spans: ")
	assert.Equal(t, 1, collector.Taken("good"))
}

// An archive brings the spans back when the topic no longer has them.
func TestReplayFromAnArchive(t *testing.T) {
	collector := collectortest.Start(t, collectortest.Status(202))
	d := newDesk(t, collector.URL())
	d.produce(d.record(2*time.Hour, "old", "older"), d.record(0, "new"))
	url := "file://" + t.TempDir()
	_, _, err := d.relay("archive", "--to", url, "--once")
	require.NoError(t, err)
	d.broker.Stop() // it is not needed

	out, _, err := d.relay("replay", "--archive", url, "--dry-run")
	require.NoError(t, err)
	assert.Contains(t, out, "would send 2 records with 3 spans of 1 trace\n")
	out, _, err = d.relay("replay", "--archive", url, "--since", "1h")
	require.NoError(t, err)
	assert.Contains(t, out, "sent 1 record with 1 span")
	assert.Equal(t, 1, collector.Taken("new"))
	out, _, err = d.relay("replay", "--archive", url)
	require.NoError(t, err)
	assert.Contains(t, out, "sent 2 records with 3 spans")
	assert.Equal(t, 1, collector.Taken("old"))

	_, _, err = d.relay("replay", "--archive", "file:///does/not/exist")
	assert.ErrorContains(t, err, "does/not/exist")
	t.Setenv("TRACING_TOPIC", "other-topic")
	_, _, err = d.relay("replay", "--archive", url)
	assert.EqualError(t, err, "archive "+url+": no segments of topic other-topic")
}
