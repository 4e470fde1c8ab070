package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"fault-tolerant-tracing/services/internal/collectortest"
	"fault-tolerant-tracing/services/internal/deadletter"
	"fault-tolerant-tracing/tracing/tracingtest"
)

func TestListTellsALineForEach(t *testing.T) {
	d := newDesk(t, "")
	out, _, err := d.relay("dlq", "list")
	require.NoError(t, err)
	assert.Equal(t, "tracing-dlq is empty\n", out)

	d.setAside(newBatch(t, "a", "b"), []byte("garbage"))
	d.produce(&kgo.Record{Topic: dlq, Value: []byte("by someone else")})
	out, _, err = d.relay("dlq", "list")
	require.NoError(t, err)
	lines := strings.Split(strings.TrimRight(out, "\n"), "\n")
	require.Len(t, lines, 4)
	assert.Regexp(t, `^ +OFFSET +SET ASIDE +FROM +SERVICE +SPANS +REASON$`, lines[0])
	assert.Regexp(t, `^ +0 +20\d\d-\d\d-\d\d \d\d:\d\d:\d\d +tracing-topic 1/100 +test +2 +jaeger answered 400 Bad Request:  \[1mno$`, lines[1])
	assert.Regexp(t, `^ +1 .* tracing-topic 1/101 +- +- +jaeger`, lines[2])
	assert.Regexp(t, `^ +2 .* - +- +- +$`, lines[3])
}

func TestListAsJSON(t *testing.T) {
	d := newDesk(t, "")
	d.setAside(newBatch(t, "a", "b"), []byte("garbage"))
	out, _, err := d.relay("dlq", "list", "--json")
	require.NoError(t, err)
	var lines []map[string]any
	for text := range strings.Lines(out) {
		var line map[string]any
		require.NoError(t, json.Unmarshal([]byte(text), &line))
		at, err := time.Parse(time.RFC3339Nano, line["time"].(string))
		require.NoError(t, err)
		assert.WithinDuration(t, time.Now(), at, time.Minute)
		delete(line, "time")
		lines = append(lines, line)
	}
	reason := "jaeger answered 400 Bad Request:\n\x1b[1mno"
	from := func(offset float64) map[string]any {
		return map[string]any{"topic": topic, "partition": 1.0, "offset": offset}
	}
	assert.Equal(t, []map[string]any{
		{"partition": 0.0, "offset": 0.0, "from": from(100), "reason": reason, "service": "test", "spans": 2.0},
		{"partition": 0.0, "offset": 1.0, "from": from(101), "reason": reason},
	}, lines)
}

func TestShowTellsEverything(t *testing.T) {
	d := newDesk(t, "")
	d.setAside(newBatch(t, "eat", "sleep"), append([]byte("garbage"), make([]byte, 1000)...))
	out, _, err := d.relay("dlq", "show", "0")
	require.NoError(t, err)
	for _, want := range []string{
		"from       tracing-topic 1/100\n", "reason     jaeger answered 400", "key        client-1\n", "header     own: kept\n",
		" 2 spans\n", "  service.name=test\n", "\neat\n  trace 00000000000000000000000000000001, span ", "\nsleep\n",
	} {
		assert.Contains(t, out, want)
	}
	out, _, err = d.relay("dlq", "show", "1")
	require.NoError(t, err)
	assert.Contains(t, out, "value      1007 bytes, no batch of spans: not a jaeger.thrift batch, byte ")
	assert.Contains(t, out, "|garbage")
	assert.Contains(t, out, "000001f0 ")
	assert.NotContains(t, out, "00000200 ")

	out, _, err = d.relay("dlq", "show", "0", "--json")
	require.NoError(t, err)
	var object asideObject
	require.NoError(t, json.Unmarshal([]byte(out), &object))
	assert.Contains(t, string(object.Batch), `"resourceSpans"`)
	assert.Contains(t, string(object.Batch), `"eat"`)
	assert.Contains(t, string(object.Batch), `"sleep"`)
	out, _, err = d.relay("dlq", "show", "0/1", "--json")
	require.NoError(t, err)
	object = asideObject{}
	require.NoError(t, json.Unmarshal([]byte(out), &object))
	assert.Nil(t, object.Batch)
	assert.Contains(t, object.Error, "not a jaeger.thrift batch")
	assert.True(t, bytes.HasPrefix(object.Value, []byte("garbage")))

	_, _, err = d.relay("dlq", "show", "2")
	assert.EqualError(t, err, "tracing-dlq has no record at offset 2: it holds 0 to 1")
}

// What Jaeger takes leaves the topic, what it still refuses is set aside again with
// the new reason, and with where it came from at first.
func TestRedriveSendsAgainAndRemoves(t *testing.T) {
	collector := collectortest.Start(t, func(w http.ResponseWriter, p collectortest.Post) {
		switch {
		case len(p.Operations) > 1 && slices.Contains(p.Operations, "poison"):
			w.WriteHeader(413)
		case p.Operations[0] == "poison":
			http.Error(w, "still not", 400)
		default:
			w.WriteHeader(202)
		}
	})
	d := newDesk(t, collector.URL())
	d.setAside(newBatch(t, "a"), []byte("garbage"), newBatch(t, "b", "poison"), newBatch(t, "c"))

	out, _, err := d.relay("dlq", "redrive", "--dry-run")
	require.NoError(t, err)
	assert.Equal(t, "would send 4 records with 4 spans of 1 trace\n1 of the records holds no spans\nSERVICE  RECORDS  SPANS\ntest     3        4\n", out)
	assert.Zero(t, collector.Posts())

	since := map[string]string{} // by offset, when it was set aside
	for _, r := range d.aside() {
		since[tracingtest.Header(r, deadletter.HeaderOffset)] = tracingtest.Header(r, deadletter.HeaderTime)
	}
	out, stderr, err := d.relay("dlq", "redrive")
	assert.EqualError(t, err, "2 records are set aside again")
	assert.Equal(t, "sent 3 records with 3 spans to "+collector.URL()+", set 2 records aside again\n", out)
	assert.Regexp(t, `(?m)^refused: partition 0, offset 1, 0 spans: no batch of spans: `, stderr)
	assert.Contains(t, stderr, "refused: partition 0, offset 2, 1 span: jaeger answered 400 Bad Request: still not\n")
	for _, operation := range []string{"a", "b", "c"} {
		assert.Equal(t, 1, collector.Taken(operation), operation)
	}
	left := d.aside()
	require.Len(t, left, 2)
	slices.SortFunc(left, func(a, b *kgo.Record) int { return len(a.Value) - len(b.Value) })
	for i, want := range []struct{ value, offset, reason string }{
		{"garbage", "101", "no batch of spans: "}, {"poison", "102", "jaeger answered 400 Bad Request: still not"},
	} {
		assert.GreaterOrEqual(t, left[i].Offset, int64(4))
		assert.Contains(t, string(left[i].Value), want.value)
		assert.Equal(t, "client-1", string(left[i].Key))
		headers := map[string]string{}
		for _, h := range left[i].Headers {
			assert.NotContains(t, headers, h.Key)
			headers[h.Key] = string(h.Value)
		}
		assert.Equal(t, since[want.offset], headers[deadletter.HeaderTime], "of the first time")
		delete(headers, deadletter.HeaderTime)
		assert.Contains(t, headers[deadletter.HeaderReason], want.reason)
		delete(headers, deadletter.HeaderReason)
		assert.Equal(t, map[string]string{
			"own": "kept", deadletter.HeaderTopic: topic, deadletter.HeaderPartition: "1", deadletter.HeaderOffset: want.offset,
		}, headers)
	}

	collector.Answer(collectortest.Status(202))
	_, _, err = d.relay("dlq", "redrive")
	assert.EqualError(t, err, "1 record is set aside again", "garbage stays garbage")
	assert.Equal(t, 1, collector.Taken("poison"))
	assert.Equal(t, 1, collector.Taken("b"), "only what was refused is set aside again")
	require.Len(t, d.aside(), 1)
}

// What is not whole is told as such, and never sent as if it were.
func TestWhatIsCutIsNotSentAgain(t *testing.T) {
	collector := collectortest.Start(t, collectortest.Status(202))
	d := newDesk(t, collector.URL())
	d.setAside(newBatch(t, "a"), newBatch(t, "b"))
	large := append(newBatch(t, "large"), make([]byte, 3_000_000)...)
	d.setAside(large)
	size := strconv.Itoa(len("client-1") + len("own") + len("kept") + len(large))

	out, _, err := d.relay("dlq", "list")
	require.NoError(t, err)
	assert.Regexp(t, `\n +2 .* \(cut from `+size+` bytes\) jaeger answered 400`, out)
	out, _, err = d.relay("dlq", "list", "--json")
	require.NoError(t, err)
	assert.Equal(t, 1, strings.Count(out, `"cut_from":`+size+`}`))
	out, _, err = d.relay("dlq", "show", "2")
	require.NoError(t, err)
	assert.Contains(t, out, "not whole  cut from "+size+" bytes, the whole is at tracing-topic 1/100\n")

	for range 2 {
		_, stderr, err := d.relay("dlq", "redrive")
		assert.EqualError(t, err, "1 record is set aside again")
		assert.Regexp(t, `offset \d, 0 spans: cut from `+size+` bytes, the whole is at tracing-topic 1/100\n`, stderr)
		require.Len(t, d.aside(), 1)
	}
	assert.Equal(t, 2, collector.Posts())
	assert.Zero(t, collector.Taken("large"))
	out, _, err = d.relay("dlq", "list")
	require.NoError(t, err)
	assert.Contains(t, out, "(cut from "+size+" bytes) jaeger answered 400", "why it was set aside is kept")
}

func TestARedriveThatIsStoppedRemovesOnlyWhatIsThrough(t *testing.T) {
	collector := collectortest.Start(t, func(w http.ResponseWriter, p collectortest.Post) {
		if p.Operations[0] == "c" {
			w.WriteHeader(503)
		}
	})
	d := newDesk(t, collector.URL())
	d.setAside(newBatch(t, "a"), newBatch(t, "b"), newBatch(t, "c"), newBatch(t, "d"))
	var stop context.CancelFunc
	d.ctx, stop = context.WithCancel(t.Context())
	defer stop()
	go func() {
		for collector.Posts() < 5 && d.ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		stop()
	}()
	out, stderr, err := d.relay("dlq", "redrive")
	assert.EqualError(t, err, "interrupted")
	assert.Contains(t, out, "sent 3 records with 3 spans")
	assert.Contains(t, stderr, " of 4 records, trying again: jaeger answered 503 Service Unavailable\n")
	left := d.aside()
	require.Len(t, left, 2)
	assert.EqualValues(t, 2, left[0].Offset)
}

// What is not whole must not be taken for it, nor get lost.
func TestWhatIsCutOrEmptyIsNotSent(t *testing.T) {
	collector := collectortest.Start(t, collectortest.Status(202))
	d := newDesk(t, collector.URL())
	d.setAside(newBatch(t, "a"), nil)
	cut := &kgo.Record{Topic: dlq, Value: newBatch(t, "b")}
	for key, value := range map[string]string{
		deadletter.HeaderTopic: topic, deadletter.HeaderPartition: "1", deadletter.HeaderOffset: "7", deadletter.HeaderReason: "why",
		deadletter.HeaderTruncated: "true", deadletter.HeaderBytes: "3000000",
	} {
		cut.Headers = append(cut.Headers, kgo.RecordHeader{Key: key, Value: []byte(value)})
	}
	d.produce(cut)
	for range 2 { // it stays cut
		_, stderr, err := d.relay("dlq", "redrive")
		assert.EqualError(t, err, "2 records are set aside again")
		assert.Regexp(t, `offset \d, 0 spans: cut from 3000000 bytes, the whole is at tracing-topic 1/7\n`, stderr)
		assert.Regexp(t, `offset \d, 0 spans: it has no value\n`, stderr)
		require.Len(t, d.aside(), 2)
	}
	assert.Equal(t, 1, collector.Posts())
	out, _, err := d.relay("dlq", "list")
	require.NoError(t, err)
	assert.Contains(t, out, " why\n")
}

func TestNothingIsSentThatCannotBeRemoved(t *testing.T) {
	collector := collectortest.Start(t, collectortest.Status(202))
	d := newDesk(t, collector.URL())
	d.setAside(newBatch(t, "a"))
	d.broker.Cluster().ControlKey(int16(kmsg.DeleteRecords), func(request kmsg.Request) (kmsg.Response, error, bool) {
		d.broker.Cluster().KeepControl()
		response := request.ResponseKind().(*kmsg.DeleteRecordsResponse)
		part := kmsg.DeleteRecordsResponseTopicPartition{ErrorCode: kerr.TopicAuthorizationFailed.Code}
		response.Topics = []kmsg.DeleteRecordsResponseTopic{{Topic: dlq, Partitions: []kmsg.DeleteRecordsResponseTopicPartition{part}}}
		return response, nil, true
	})
	_, _, err := d.relay("dlq", "redrive")
	assert.EqualError(t, err, "remove records from tracing-dlq: Broker: Topic authorization failed")
	assert.Zero(t, collector.Posts())
	assert.Len(t, d.aside(), 1)
}

// told is everything about the letters but where they lie, by where they came from.
func told(records []*kgo.Record) map[string]string {
	all := map[string]string{}
	for _, r := range records {
		all[tracingtest.Header(r, deadletter.HeaderOffset)] = fmt.Sprintf("%q %q %q", r.Key, r.Value, r.Headers)
	}
	return all
}

// What is not chosen is neither sent nor changed, be it garbage.
func TestRedriveOfSome(t *testing.T) {
	jaeger := collectortest.Start(t, collectortest.Status(202))
	d := newDesk(t, jaeger.URL())
	d.put(dlq,
		letter(0, "jaeger answered 413", newBatch(t, "a")), letter(1, "no batch of spans", []byte("garbage")), letter(2, "jaeger answered 500", newBatch(t, "b")),
		letter(3, "jaeger answered 413", newBatch(t, "c")), letter(4, "jaeger answered 500", newBatch(t, "d")))
	before := told(d.aside())

	out, _, err := d.relay("dlq", "redrive", "--reason", "answered 413", "--dry-run")
	require.NoError(t, err)
	assert.Contains(t, out, "would send 2 records with 2 spans of 1 trace\n")
	require.Equal(t, before, told(d.aside()))

	out, _, err = d.relay("dlq", "redrive", "--reason", "answered 413")
	require.NoError(t, err)
	assert.Equal(t, "sent 2 records with 2 spans to "+jaeger.URL()+", set 0 records aside again\n", out)
	assert.Equal(t, map[string]int{"a": 1, "c": 1}, jaeger.AllTaken())
	delete(before, "0")
	delete(before, "3")
	left := d.aside()
	require.Len(t, left, 3)
	require.Equal(t, before, told(left))
	assert.EqualValues(t, 4, left[0].Offset, "behind what is chosen nothing moves")

	_, _, err = d.relay("dlq", "redrive", "1", "4")
	assert.EqualError(t, err, "tracing-dlq has no record at offset 1: it holds 4 to 6")
	_, _, err = d.relay("dlq", "redrive", "4")
	require.NoError(t, err)
	assert.Equal(t, map[string]int{"a": 1, "c": 1, "d": 1}, jaeger.AllTaken())
	delete(before, "4")
	require.Equal(t, before, told(d.aside()))
}

func TestDropDeletesWhatItIsToldAndNothingElse(t *testing.T) {
	d := newDesk(t, "")
	for i := range 5 {
		d.put(dlq, letter(int64(i), fmt.Sprint("reason ", i), fmt.Append(nil, "garbage ", i)))
	}
	before := told(d.aside())

	_, _, err := d.relay("dlq", "drop", "2", "9")
	assert.EqualError(t, err, "tracing-dlq has no record at offset 9: it holds 0 to 4")
	require.Equal(t, before, told(d.aside()))

	out, _, err := d.relay("dlq", "drop", "0")
	require.NoError(t, err)
	assert.Equal(t, "deleted 1 record from tracing-dlq\n", out)
	delete(before, "0")
	left := d.aside()
	require.Equal(t, before, told(left))
	assert.EqualValues(t, 1, left[0].Offset, "nothing has moved")

	out, _, err = d.relay("dlq", "drop", "3", "2")
	require.NoError(t, err)
	assert.Equal(t, "deleted 2 records from tracing-dlq\n", out)
	delete(before, "2")
	delete(before, "3")
	left = d.aside()
	require.Len(t, left, 2)
	require.Equal(t, before, told(left))
	assert.EqualValues(t, 4, left[0].Offset)
}

// What stream, sentence and answer have set aside goes back to where it came from. It is
// on the cluster with the data.
func TestLettersOfTheServicesGoBack(t *testing.T) {
	jaeger := collectortest.Start(t, collectortest.Status(202))
	d := newDesk(t, jaeger.URL())
	d.broker.CreateTopics(t, 1, "number-dlq", "number-topic", "even-topic")
	t.Setenv("KAFKA_BROKERS", d.broker.Addr())
	t.Setenv("TRACING_KAFKA_BROKERS", tracingtest.FreeAddr(t))
	from := func(topic string, value []byte, cutFrom int) deadletter.Letter {
		return deadletter.Letter{
			Topic: topic, Reason: errors.New("why"), Key: []byte("key"), Value: value, CutFrom: cutFrom,
			Headers: []kafka.Header{{Key: "own", Value: []byte("kept")}},
		}
	}
	d.put("number-dlq", from("number-topic", []byte("hello"), 0), from("number-topic", nil, 0), from("gone-topic", []byte("7"), 0),
		from("number-topic", []byte("long"), 5_000_000), from("even-topic", []byte("6"), 0))

	out, _, err := d.relay("dlq", "list", "--topic", "number-dlq")
	require.NoError(t, err)
	assert.Regexp(t, `\n +2 .* gone-topic 0/0 +- +- +why\n`, out)
	out, _, err = d.relay("dlq", "show", "--topic", "number-dlq", "0")
	require.NoError(t, err)
	assert.Contains(t, out, "|hello")
	out, _, err = d.relay("dlq", "redrive", "--topic", "number-dlq", "--dry-run")
	require.NoError(t, err)
	assert.Equal(t, "would send 5 records back\n", out)

	out, stderr, err := d.relay("dlq", "redrive", "--topic", "number-dlq")
	assert.EqualError(t, err, "2 records stay on number-dlq")
	assert.Equal(t, "sent 1 record back to even-topic\nsent 2 records back to number-topic\n", out)
	assert.Contains(t, stderr, "stays: offset 2: kafka at "+d.broker.Addr()+" has no topic gone-topic\n")
	assert.Contains(t, stderr, "stays: offset 3: cut from 5000000 bytes, the whole is at number-topic 0/0\n")
	back := append(tracingtest.ReadTopic(t, d.broker.Addr(), "number-topic", 2), tracingtest.ReadTopic(t, d.broker.Addr(), "even-topic", 1)...)
	require.Len(t, back, 3)
	var values []string
	for _, r := range back {
		values = append(values, string(r.Value))
		assert.Equal(t, r.Value == nil, len(r.Value) == 0, "null stays null")
		assert.Equal(t, "key", string(r.Key))
		assert.Equal(t, []kgo.RecordHeader{{Key: "own", Value: []byte("kept")}}, r.Headers)
	}
	assert.ElementsMatch(t, []string{"hello", "", "6"}, values)
	left := tracingtest.ReadTopic(t, d.broker.Addr(), "number-dlq", 2)
	require.Len(t, left, 2)

	_, _, err = d.relay("dlq", "drop", "--topic", "number-dlq", "5", "6")
	require.NoError(t, err)
	out, _, err = d.relay("dlq", "redrive", "--topic", "number-dlq")
	require.NoError(t, err)
	assert.Equal(t, "there was nothing to send\n", out)
	assert.Zero(t, jaeger.Posts())
}
