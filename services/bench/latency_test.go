package main

import (
	"bytes"
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/opentracing/opentracing-go/mocktracer"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	thrift "github.com/uber/jaeger-client-go/thrift-gen/jaeger"
)

// endingAt makes a batch of spans of 2 ms that end at those times.
func endingAt(t *testing.T, ends ...time.Time) []byte {
	t.Helper()
	spans := sampleSpans(len(ends))
	for i, end := range ends {
		spans[i].Duration = 2000
		spans[i].StartTime = end.UnixMicro() - 2000
	}
	value, err := asThrift(process(0), spans)
	require.NoError(t, err)
	return value
}

func idOf(span *thrift.Span) spanID { return spanID{trace: span.TraceIdLow, span: span.SpanId} }

func TestDelaysCountFromTheEndOfASpanAndFromItsRecord(t *testing.T) {
	from := time.Unix(1_790_000_000, 0)
	to := from.Add(time.Second)
	ends := []time.Time{from.Add(-time.Microsecond), from, from.Add(400 * time.Millisecond), to}
	d := delays{arrived: map[spanID]time.Time{}, from: from, to: to}
	for i, span := range sampleSpans(len(ends)) {
		d.arrived[idOf(span)] = from.Add(time.Duration(500+i) * time.Millisecond)
	}
	record := &kafka.Message{Value: endingAt(t, ends...), Timestamp: from.Add(490 * time.Millisecond), TimestampType: kafka.TimestampCreateTime}
	require.NoError(t, d.record(record))
	assert.Equal(t, 4, d.read)
	assert.Equal(t, []time.Duration{501 * time.Millisecond, 102 * time.Millisecond}, d.whole, "without what ended before and after")
	assert.Equal(t, []time.Duration{11 * time.Millisecond, 12 * time.Millisecond}, d.share)

	record.TimestampType = kafka.TimestampLogAppendTime
	assert.ErrorContains(t, d.record(record), "not that of its producer")
}

func TestASpanThatNeverArrivedIsAnError(t *testing.T) {
	now := time.Now()
	d := delays{arrived: map[spanID]time.Time{}, from: now, to: now.Add(time.Second)}
	err := d.record(&kafka.Message{Value: endingAt(t, now), Timestamp: now, TimestampType: kafka.TimestampCreateTime})
	assert.ErrorContains(t, err, "never arrived")
}

func TestQuantilesAreValuesThatWereMeasured(t *testing.T) {
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(i+1))
	}
	for _, c := range []struct {
		sorted  []time.Duration
		percent int
		want    time.Duration
	}{
		{nil, 99, 0},
		{[]time.Duration{7}, 50, 7},
		{[]time.Duration{7, 8}, 50, 7},
		{[]time.Duration{7, 8}, 99, 8},
		{hundred, 50, 50},
		{hundred, 99, 99},
		{hundred, 100, 100},
		{append(hundred, 101), 99, 100},
	} {
		assert.Equal(t, c.want, quantile(c.sorted, c.percent), "%d%% of %d", c.percent, len(c.sorted))
	}
}

func TestASpanArrivesWhenItsAnswerIsWritten(t *testing.T) {
	a, at, stop, err := startArrivals()
	require.NoError(t, err)
	defer stop()
	defer http.DefaultClient.CloseIdleConnections()
	before := time.Now()
	response, err := http.Post(at.thrift, "application/x-thrift", bytes.NewReader(endingAt(t, before, before)))
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusAccepted, response.StatusCode)
	stop()
	arrived, err := a.first()
	require.NoError(t, err)
	require.Len(t, arrived, 2)
	for _, span := range sampleSpans(2) {
		assert.WithinRange(t, arrived[idOf(span)], before, time.Now())
	}
}

func TestASpanThatComesTwiceHasArrivedTheFirstTime(t *testing.T) {
	first := time.Now()
	value := endingAt(t, first)
	a := &arrivals{posts: []arrival{{value, first.Add(2)}, {value, first}, {value, first.Add(1)}}}
	arrived, err := a.first()
	require.NoError(t, err)
	assert.Equal(t, map[spanID]time.Time{idOf(sampleSpans(1)[0]): first}, arrived)
}

func TestAClientKeepsItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 8999*time.Millisecond)
		defer cancel()
		tracer := mocktracer.New()
		assert.Equal(t, 9*spansPerSecond, finishSpans(ctx, tracer))
		done := tracer.FinishedSpans()
		require.Len(t, done, 9*spansPerSecond)
		assert.Zero(t, done[0].ParentID)
		assert.Equal(t, done[7].SpanContext.SpanID, done[8].ParentID)
		assert.Zero(t, done[9].ParentID, "nine to a trace")
	})
}

func TestRecoveryShowsTheLeastTheMiddleAndTheMost(t *testing.T) {
	rows := recoveryTable(program{}, []time.Duration{300 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond})
	assert.Equal(t, []string{"100", "200", "300"}, rows[1][1:4])
}
