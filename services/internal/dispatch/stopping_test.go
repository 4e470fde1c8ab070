package dispatch

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/stretchr/testify/assert"
)

// What is read while the dispatcher stops, or while its partition leaves, is not
// taken. The end of the partition behind it must not count it as done.
func TestWhatIsNotTakenIsNotSkipped(t *testing.T) {
	for name, end := range map[string]func(*Dispatcher){
		"while it stops": func(d *Dispatcher) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			d.Run(ctx, time.Second)
		},
		"while the partition leaves": func(d *Dispatcher) { d.Drain([]int32{0}, time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			d := New(Config{InFlight: 1, Log: slog.New(slog.DiscardHandler)})
			d.Assign([]int32{0})
			d.Start(0, 7)
			d.Skip(0, 8) // a marker lies at 7
			end(d)
			topic := "input"
			d.Add(&kafka.Message{TopicPartition: kafka.TopicPartition{Topic: &topic, Offset: 8}})
			d.Skip(0, 9)
			moved, _ := d.Moved()
			assert.Equal(t, map[int32]int64{0: 8}, moved)
		})
	}
}
