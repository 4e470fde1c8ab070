package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"fault-tolerant-tracing/services/internal/collectortest"
	"fault-tolerant-tracing/services/internal/deadletter"
	"fault-tolerant-tracing/services/internal/dispatch"
	"fault-tolerant-tracing/services/internal/ledger"
	"fault-tolerant-tracing/tracing/batch"
)

func TestARecordIsCommittedOnlyAfterJaegerTookIt(t *testing.T) {
	t.Parallel()
	collector := collectortest.Start(t, collectortest.Status(503))
	r := startRelay(t, collector.URL())
	r.produce(newBatch(t, operations("a", 9)...))
	r.eventually("the relay tries", func() bool { return collector.Posts() >= 3 })
	r.eventually("it says where, and how much waits", func() bool {
		return regexp.MustCompile(`could not send spans to jaeger, retrying offset 0 of partition \d, 1 record waits"`).MatchString(r.logs.String())
	})
	assert.Zero(t, r.committed())
	assert.NotContains(t, r.logs.String(), "msg=\"sent ")
	collector.Answer(collectortest.Status(202))
	r.eventually("the record is committed", func() bool { return r.committed() == 1 })
	for _, operation := range operations("a", 9) {
		assert.Equal(t, 1, collector.Taken(operation))
	}
	assert.Contains(t, r.logs.String(), "sending 9 span(s) to jaeger")
	sent := regexp.MustCompile(`sent (\d+) span\(s\) to jaeger`)
	r.eventually("it says that all were sent, at once or in parts", func() bool {
		total := 0
		for _, line := range sent.FindAllStringSubmatch(r.logs.String(), -1) {
			n, err := strconv.Atoi(line[1])
			require.NoError(t, err)
			total += n
		}
		return total == 9
	})
}

// What is wrong with the endpoint as a whole must never set a good record
// aside, however long it lasts.
func TestEndpointFaultsHoldEverything(t *testing.T) {
	faults := map[string]collectortest.Answer{
		"301": func(w http.ResponseWriter, _ collectortest.Post) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(301)
		},
		"connection cut": collectortest.HangUp,
	}
	for _, status := range []int{400, 401, 404, 405, 408, 429, 500, 502, 503} {
		faults[fmt.Sprint(status)] = collectortest.Status(status)
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			collector := collectortest.Start(t, fault)
			r := startRelay(t, collector.URL())
			const n = 10
			for i := range n {
				r.produce(newBatch(t, fmt.Sprint("good-", i)))
			}
			r.eventually("more tries than a record has", func() bool { return collector.Posts() >= 3*n })
			assert.Equal(t, string(dispatch.Holding), r.status()["state"])
			assert.Zero(t, r.committed())
			assert.Empty(t, r.setAside())
			collector.Answer(collectortest.Status(202))
			r.eventually("all is delivered", func() bool { return r.committed() == n })
			assert.Empty(t, r.setAside())
			assert.Equal(t, string(dispatch.Delivering), r.status()["state"])
			for i := range n {
				assert.GreaterOrEqual(t, collector.Taken(fmt.Sprint("good-", i)), 1)
			}
		})
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	right := collectortest.Start(t, collectortest.Status(202))
	elsewhere := httptest.NewServer(http.RedirectHandler(right.URL(), http.StatusMovedPermanently))
	t.Cleanup(elsewhere.Close)
	r := startRelay(t, elsewhere.URL+"/v1/traces")
	r.produce(newBatch(t, "a"))
	r.eventually("the relay says what is wrong", func() bool {
		return strings.Contains(r.logs.String(), "jaeger answered 301") && strings.Contains(r.logs.String(), "not followed")
	})
	assert.Zero(t, right.Posts())
	assert.Contains(t, r.logs.String(), "level=ERROR")
}

func TestBadRecordsAmongGoodOnes(t *testing.T) {
	t.Parallel()
	collector := collectortest.Start(t, func(w http.ResponseWriter, p collectortest.Post) {
		switch {
		case p.Operations == nil || slices.Contains(p.Operations, "poison"):
			http.Error(w, "unable to process request body", 400)
		case slices.Contains(p.Operations, "crash"):
			http.Error(w, "boom", 500)
		default:
			w.WriteHeader(202)
		}
	})
	r := startRelay(t, collector.URL())
	large := newBatch(t, "large", strings.Repeat("x", 1_048_588-120))
	bad := map[string][]byte{"garbage": []byte("garbage"), "poison": newBatch(t, "poison"), "crash": newBatch(t, "crash")}
	r.produce(newBatch(t, "first"), nil, bad["garbage"], []byte{}, bad["poison"], large, bad["crash"])
	sent := int64(7)
	deadline := time.Now().Add(2 * patience)
	for i := 0; len(r.setAside()) < len(bad) && time.Now().Before(deadline); i++ { // a bad record shows only while others go through
		r.produce(newBatch(t, fmt.Sprint("good-", i)))
		sent++
		r.eventually("a good record is not held up", func() bool { return collector.Taken(fmt.Sprint("good-", i)) > 0 })
	}
	r.eventually("everything is finished", func() bool { return r.committed() == sent })
	assert.Equal(t, 1, collector.Taken("large"))
	assert.Equal(t, 1, collector.Taken("first"))

	aside := r.setAside()
	require.Len(t, aside, 3)
	for _, record := range aside {
		headers := map[string]string{}
		for _, h := range record.Headers {
			headers[h.Key] = string(h.Value)
		}
		assert.Equal(t, topic, headers[deadletter.HeaderTopic])
		assert.Regexp(t, "jaeger answered|no batch", headers[deadletter.HeaderReason])
		assert.NotEmpty(t, headers[deadletter.HeaderOffset])
		assert.NotEmpty(t, headers[deadletter.HeaderPartition])
		name, found := "", false
		for name = range bad {
			if found = slices.Equal(bad[name], record.Value); found {
				break
			}
		}
		assert.True(t, found, "set aside as it was")
		delete(bad, name)
	}
}

func TestATooLargeRecordIsSplit(t *testing.T) {
	t.Parallel()
	collector := collectortest.Start(t, func(w http.ResponseWriter, p collectortest.Post) {
		if len(p.Operations) > 3 || slices.Contains(p.Operations, "giant") {
			w.WriteHeader(413)
			return
		}
		w.WriteHeader(202)
	})
	r := startRelay(t, collector.URL())
	names := operations("part", 10)
	r.produce(newBatch(t, slices.Insert(slices.Clone(names), 4, "giant")...))
	r.eventually("the record is finished", func() bool { return r.committed() == 1 })
	for _, name := range names {
		assert.Equal(t, 1, collector.Taken(name), name)
	}
	aside := r.setAside()
	require.Len(t, aside, 1, "the one span that is refused alone")
	frame, err := batch.Parse(aside[0].Value)
	require.NoError(t, err)
	assert.Equal(t, 1, frame.Spans())
	assert.EqualValues(t, 1, r.status()["parts_set_aside"])
	assert.EqualValues(t, 10, r.status()["spans_sent"])
}

func TestWhatWasTakenOfASplitRecordIsNotSentAgain(t *testing.T) {
	t.Parallel()
	var failures atomic.Int32
	collector := collectortest.Start(t, func(w http.ResponseWriter, p collectortest.Post) {
		switch {
		case len(p.Operations) > 1:
			w.WriteHeader(413)
		case p.Operations[0] == "b" && failures.Add(1) <= 3:
			w.WriteHeader(503)
		default:
			w.WriteHeader(202)
		}
	})
	r := startRelay(t, collector.URL())
	r.produce(newBatch(t, "a", "b"))
	r.eventually("the record is finished", func() bool { return r.committed() == 1 })
	assert.Equal(t, 1, collector.Taken("a"))
	assert.Equal(t, 1, collector.Taken("b"))
}

// What spoke against one part of a split record does not speak against the next.
func TestThePartsOfASplitRecordAreJudgedEachByItself(t *testing.T) {
	t.Parallel()
	var once atomic.Bool
	collector := collectortest.Start(t, func(w http.ResponseWriter, p collectortest.Post) {
		switch {
		case len(p.Operations) > 1:
			w.WriteHeader(413)
		case p.Operations[0] == "bad", p.Operations[0] == "good" && once.CompareAndSwap(false, true):
			w.WriteHeader(400)
		default:
			w.WriteHeader(202)
		}
	})
	r := startRelay(t, collector.URL())
	r.produce(newBatch(t, "bad", "good"))
	deadline := time.Now().Add(patience)
	for i := 0; r.committed() < int64(i+1) && time.Now().Before(deadline); i++ {
		name := fmt.Sprint("other-", i)
		r.produce(newBatch(t, name))
		r.eventually("others go through", func() bool { return collector.Taken(name) > 0 })
	}
	assert.Equal(t, 1, collector.Taken("good"))
	require.Len(t, r.setAside(), 1)
}

func TestKeysAndHeadersOfASetAsideRecordAreKept(t *testing.T) {
	t.Parallel()
	collector := collectortest.Start(t, collectortest.Status(400))
	r := startRelay(t, collector.URL())
	header := kgo.RecordHeader{Key: "from", Value: []byte("somewhere")}
	record := &kgo.Record{Topic: topic, Key: []byte("key"), Value: []byte("garbage"), Headers: []kgo.RecordHeader{header}}
	require.NoError(t, r.client.ProduceSync(t.Context(), record).FirstErr())
	r.eventually("it is set aside", func() bool { return r.committed() == 1 })
	aside := r.setAside()
	require.Len(t, aside, 1)
	assert.Equal(t, "key", string(aside[0].Key))
	assert.Contains(t, aside[0].Headers, header)
}

func TestAGracefulStopFinishesWhatIsInFlight(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	collector := collectortest.Start(t, func(w http.ResponseWriter, _ collectortest.Post) {
		close(entered)
		<-release
		w.WriteHeader(202)
	})
	r := startRelay(t, collector.URL())
	r.produce(newBatch(t, "a"))
	<-entered
	r.cancel()
	close(release)
	require.NoError(t, r.stop())
	assert.EqualValues(t, 1, r.committed())
}

func TestAStopWhileHoldingIsQuickAndLosesNothing(t *testing.T) {
	t.Parallel()
	collector := collectortest.Start(t, collectortest.Status(503))
	r := startRelay(t, collector.URL())
	r.produce(newBatch(t, "a"), newBatch(t, "b"))
	r.eventually("the relay holds", func() bool { return collector.Posts() >= 2 })
	begin := time.Now()
	require.NoError(t, r.stop())
	assert.Less(t, time.Since(begin), 8*time.Second)
	assert.Zero(t, r.committed())
	collector.Answer(collectortest.Status(202))
	r.start(collector.URL())
	r.eventually("the next relay delivers", func() bool { return r.committed() == 2 })
	assert.Equal(t, 1, collector.Taken("a"))
	assert.Equal(t, 1, collector.Taken("b"))
}

func TestTheRelaySurvivesARestartOfTheBroker(t *testing.T) {
	t.Parallel()
	collector := collectortest.Start(t, collectortest.Status(202))
	r := startRelay(t, collector.URL())
	r.produce(newBatch(t, "before"), []byte("garbage before"))
	r.eventually("delivered before", func() bool { return collector.Taken("before") == 1 })
	r.broker.Stop()
	require.NoError(t, r.broker.Start())
	r.produce(newBatch(t, "after"), []byte("garbage after"))
	r.eventually("delivered after", func() bool { return collector.Taken("after") == 1 })
	r.eventually("committed", func() bool { return r.committed() == 4 })
}

func TestStatusAndHealth(t *testing.T) {
	t.Parallel()
	collector := collectortest.Start(t, collectortest.Status(503))
	r := startRelay(t, collector.URL())
	r.produce(newBatch(t, "a"))
	r.eventually("the relay holds", func() bool { return collector.Posts() >= 2 })
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		response, err := http.Get("http://" + r.addr + path)
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		response.Body.Close()
		assert.Equal(t, 200, response.StatusCode, "holding is healthy and ready: %s", path)
		if path == "/metrics" {
			assert.Contains(t, string(body), "consumer_holding 1")
		}
	}
	s := r.status()
	assert.Equal(t, "holding", s["state"])
	assert.Contains(t, s["last_error"], "503")
	assert.NotContains(t, s, "last_error_over")
	assert.Contains(t, s["jaeger"], collector.URL())
	assert.Len(t, s["partitions"], 3)
	r.eventually("the lag shows what is not delivered", func() bool {
		var lag float64
		for _, p := range r.status()["partitions"].([]any) {
			lag += p.(map[string]any)["lag"].(float64)
		}
		return lag == 1
	})
}

// status asks the relay as a person would.
func (r *rig) status() map[string]any {
	r.t.Helper()
	var s map[string]any
	r.ask(&s)
	return s
}

func (r *rig) ledgerStatus() ledger.Status {
	r.t.Helper()
	var s struct{ Ledger ledger.Status }
	r.ask(&s)
	return s.Ledger
}

func (r *rig) ask(status any) {
	r.t.Helper()
	response, err := http.Get("http://" + r.addr + "/status")
	if err != nil {
		r.t.Log(err) // it does not listen yet
		return
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK { // else it waits for Kafka
		assert.NoError(r.t, json.NewDecoder(response.Body).Decode(status))
	}
}
