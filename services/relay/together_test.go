package main

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"fault-tolerant-tracing/services/internal/collectortest"
	"fault-tolerant-tracing/services/internal/deadletter"
	"fault-tolerant-tracing/services/internal/deliver"
)

// backlog starts a relay with n records of three spans waiting, which one process
// has written, and lets them go.
func backlog(t *testing.T, n int, then collectortest.Answer) (*rig, *collectortest.Collector) {
	t.Helper()
	collector := collectortest.Start(t, collectortest.Status(503))
	r := startRelay(t, collector.URL())
	for i := range n {
		r.produce(newBatch(t, operations(fmt.Sprint(i), 3)...))
	}
	r.eventually("the relay tries", func() bool { return collector.Posts() > 0 })
	r.eventually("all are read", func() bool { return r.status()["waiting"].(float64)+r.status()["in_flight"].(float64) >= float64(n) })
	collector.Answer(then)
	return r, collector
}

func requireOnce(t *testing.T, c *collectortest.Collector, n int) {
	t.Helper()
	for i := range n {
		for _, operation := range operations(fmt.Sprint(i), 3) {
			require.Equal(t, 1, c.Taken(operation), operation)
		}
	}
}

func TestABacklogTravelsInFewPosts(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var most int
	r, collector := backlog(t, 1000, func(w http.ResponseWriter, p collectortest.Post) {
		mu.Lock()
		defer mu.Unlock()
		most = max(most, len(p.Operations))
		w.WriteHeader(202)
	})
	before := collector.Posts()
	r.eventually("all is delivered", func() bool { return r.committed() == 1000 })
	requireOnce(t, collector, 1000)
	assert.Less(t, collector.Posts()-before, 50)
	assert.LessOrEqual(t, most, deliver.MaxSpans)
	assert.Greater(t, most, deliver.MaxSpans-3)
	assert.EqualValues(t, 3000, r.status()["spans_sent"])
}

// A merged post that is refused is for one record, or for the size of all: each
// goes by itself, and the bad one takes no other along.
func TestOneBadRecordTakesNoOtherAlong(t *testing.T) {
	for _, status := range []int{400, 413} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			r, collector := backlog(t, 100, func(w http.ResponseWriter, p collectortest.Post) {
				if slices.Contains(p.Operations, "57-1") {
					w.WriteHeader(status)
					return
				}
				w.WriteHeader(202)
			})
			r.eventually("the good ones are delivered", func() bool { return collector.Taken("99-2") == 1 && collector.Taken("0-0") == 1 })
			sent := int64(100)
			for i := 0; r.committed() < sent && i < 100; i++ { // a bad record shows only while others go through
				r.produce(newBatch(t, fmt.Sprint("later-", i)))
				sent++
				r.eventually("it is delivered", func() bool { return collector.Taken(fmt.Sprint("later-", i)) == 1 })
			}
			r.eventually("all is finished", func() bool { return r.committed() == sent })
			aside := r.setAside()
			require.Len(t, aside, 1)
			for i := range 100 {
				if i != 57 {
					require.Equal(t, 1, collector.Taken(fmt.Sprint(i, "-1")), i)
				}
			}
			for _, h := range aside[0].Headers {
				if h.Key == deadletter.HeaderReason {
					assert.Contains(t, string(h.Value), fmt.Sprint("jaeger answered ", status))
				}
			}
		})
	}
}

func TestMetricsTellWhatWasDone(t *testing.T) {
	t.Parallel()
	r, collector := backlog(t, 100, collectortest.Status(202))
	r.eventually("all is delivered", func() bool { return r.committed() == 100 })
	collector.Answer(collectortest.Status(400))
	r.produce([]byte("garbage"))
	r.eventually("it is set aside", func() bool { return r.committed() == 101 })
	text := func() string {
		response, err := http.Get("http://" + r.addr + "/metrics")
		require.NoError(t, err)
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		return string(body)
	}
	for _, line := range []string{
		"relay_spans_total 300", `relay_set_aside_total{reason="malformed"} 1`, `relay_posts_total{outcome="2xx"} `,
		`relay_posts_total{outcome="503"} `, "relay_post_duration_seconds_count ", "relay_delivery_delay_seconds_count 100", "relay_bytes_total ",
		`consumer_records_total{result="done"} 100`, `consumer_records_total{result="set_aside"} 1`, "consumer_retries_total ", "consumer_in_flight 0",
		"consumer_holding 0", "consumer_oldest_unfinished_age_seconds 0", `consumer_lag{partition="0"} 0`, "consumer_commit_errors_total 0",
		"relay_topic_retention_seconds 604800",
	} {
		r.eventually(line, func() bool { return strings.Contains(text(), "\n"+line) })
	}
}
