package deadletter

import (
	"errors"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/stretchr/testify/assert"
)

func TestReadUnderstandsTheHeaders(t *testing.T) {
	own := []kafka.Header{{Key: "uber-trace-id", Value: []byte("1")}, {Key: "uber-trace-id", Value: []byte("2")}}
	m := &kafka.Message{Key: []byte("k"), Value: []byte("v"), Headers: own[:1:1], Timestamp: time.Unix(1, 0)}
	for key, value := range Headers("tracing-topic", 3, 1<<40, errors.New("boom")) {
		m.Headers = append(m.Headers, kafka.Header{Key: key, Value: value})
	}
	m.Headers = append(m.Headers, own[1])
	e := Read(m)
	assert.WithinDuration(t, time.Now(), e.Time, time.Minute)
	e.Time = time.Time{}
	assert.Equal(t, Entry{Topic: "tracing-topic", Partition: 3, Offset: 1 << 40, Reason: "boom", Key: m.Key, Value: m.Value, Headers: own}, e)
}

func TestReadTakesAnyRecord(t *testing.T) {
	at := time.Unix(1, 0)
	m := &kafka.Message{Timestamp: at, Headers: []kafka.Header{{Key: HeaderTime, Value: []byte("soon")}, {Key: HeaderOffset, Value: []byte("x")}}}
	assert.Equal(t, Entry{Time: at}, Read(m))
}
