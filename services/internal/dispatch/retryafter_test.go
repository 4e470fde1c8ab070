package dispatch

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// What asks for a wait may stand before some of the records only, as a limit of one
// service does.
func TestASuspectWaitsAsLongAsIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const after = 3 * time.Second
		var tries []time.Time
		d := New(Config{
			InFlight: 2, Log: slog.New(slog.DiscardHandler),
			Handle: func(_ context.Context, parts []Part) error {
				if parts[0].TopicPartition.Offset != 0 {
					return nil
				}
				tries = append(tries, time.Now())
				return RetryAfter(errors.New("429"), after)
			},
			SetAside: func(context.Context, Part, error) error { return nil },
		})
		d.Assign([]int32{0})
		ctx, stop := context.WithCancel(t.Context())
		idle := make(chan struct{})
		go func() { defer close(idle); d.Run(ctx, time.Second) }()
		for offset := range kafka.Offset(100) {
			d.Add(&kafka.Message{TopicPartition: kafka.TopicPartition{Offset: offset}, Value: []byte("value")})
			time.Sleep(100 * time.Millisecond)
		}
		stop()
		<-idle
		if len(tries) < 3 {
			t.Fatalf("%d tries in 10 s", len(tries))
		}
		for i := range tries[1:] {
			if waited := tries[i+1].Sub(tries[i]); waited < after {
				t.Errorf("tried again after %v, want %v", waited, after)
			}
		}
	})
}
