package deadletter

import (
	"errors"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/stretchr/testify/assert"
)

func TestReadTakesAnyRecord(t *testing.T) {
	at := time.Unix(1, 0)
	m := &kafka.Message{Timestamp: at, Headers: []kafka.Header{header(HeaderTime, "soon"), header(HeaderOffset, "x"), header(HeaderBytes, "x")}}
	assert.Equal(t, Entry{Time: at}, Read(m))
}

func TestAgainKeepsTheOrigin(t *testing.T) {
	e := Entry{Topic: "t", Partition: 3, Offset: 4, Reason: "old", Key: []byte("k"), Value: []byte("v"), Headers: []kafka.Header{header("own", "kept")}, CutFrom: 5}
	reason := errors.New("new")
	assert.Equal(t, Letter{Topic: "t", Partition: 3, Offset: 4, Reason: reason, Key: e.Key, Value: []byte("part"), Headers: e.Headers, CutFrom: 5}, e.Again([]byte("part"), reason))
}
