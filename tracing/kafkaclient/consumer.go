package kafkaclient

import (
	"errors"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// makeTimeout is how long a consumer may take to be made. That speaks with nobody, and takes milliseconds.
const makeTimeout = 10 * time.Second

var errNotMade = errors.New("librdkafka makes no consumer: it could not start a thread, maybe for want of memory")

// NewConsumer is kafka.NewConsumer, but fails after ten seconds. librdkafka waits for ever
// where it cannot start its main thread, for want of memory.
func NewConsumer(conf *kafka.ConfigMap) (*kafka.Consumer, error) {
	return newConsumer(conf, makeTimeout)
}

func newConsumer(conf *kafka.ConfigMap, timeout time.Duration) (*kafka.Consumer, error) {
	type result struct {
		consumer *kafka.Consumer
		err      error
	}
	made, abandoned := make(chan result), make(chan struct{})
	go func() {
		consumer, err := kafka.NewConsumer(conf)
		select {
		case made <- result{consumer, err}:
		case <-abandoned:
			if err == nil {
				_ = consumer.Close()
			}
		}
	}()
	select {
	case r := <-made:
		return r.consumer, r.err
	case <-time.After(timeout):
		close(abandoned)
		return nil, errNotMade
	}
}
