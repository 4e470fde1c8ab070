package replay

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"fault-tolerant-tracing/services/internal/collector"
	"fault-tolerant-tracing/services/internal/deliver"
	"fault-tolerant-tracing/services/internal/dispatch"
)

const (
	// reachable is how long a Jaeger may stay away that has never answered: its
	// address is more likely to be wrong.
	reachable = 10 * time.Second

	// strange is after how many posts that end as no collector ends them, none being
	// taken, there is no collector. One bad record among others in a post makes for five
	// until the others are taken without it.
	strange = 10

	// hopeless is after how many records that were refused, each by itself, nothing being
	// taken, it is not the records that are wrong.
	hopeless = 100
)

// endpoint is what is known of the address that a run posts to.
type endpoint struct {
	url     string
	picky   bool              // it is of no use to go on if everything is refused
	began   time.Time         // the first post
	there   bool              // something has answered
	taken   bool              // a post, at least
	judges  bool              // what it answers depends on what is posted
	odd     int               // posts that ended as no collector ends them
	refused map[position]bool // the records that were refused by themselves or given up, until one is taken
}

// position is where a record lies.
type position struct {
	partition int32
	offset    kafka.Offset
}

// ended takes in the end of a post. If it is of no use to go on, it returns why.
func (e *endpoint) ended(began time.Time, parts []dispatch.Part, err error) error {
	if e.began.IsZero() {
		e.began = began
	}
	if deliver.Taken(err) {
		e.there, e.taken, e.judges = true, true, true
		return nil
	}
	var answer *collector.Refusal
	if !errors.As(err, &answer) {
		return e.silent(err)
	}
	e.there = true
	switch {
	case deliver.Misconfigured(err):
		if e.odd++; !e.taken && e.odd >= strange {
			return fmt.Errorf("%s takes no spans, as http://localhost:4318/v1/traces does, or, in Jaeger's own format, http://localhost:14268/api/traces: %w", e.url, err)
		}
	case answer.Status == http.StatusBadRequest, answer.Status == http.StatusInternalServerError:
		e.judges = true
		if len(parts) == 1 {
			return e.refuses(parts[0].Record, err)
		}
	}
	return nil
}

// silent takes in that nothing has answered.
func (e *endpoint) silent(err error) error {
	unreachable := deliver.Unreachable(err)
	if !unreachable {
		e.odd++
	}
	waited := time.Since(e.began) >= reachable && (unreachable || e.odd >= strange)
	if e.there || !waited && !unknownHost(err) {
		return nil
	}
	return e.explain(err)
}

// refuses takes in that a record, or a part of it, was refused by itself or given up.
func (e *endpoint) refuses(record *dispatch.Record, reason error) error {
	if e.taken || !e.picky {
		return nil
	}
	e.refused[position{record.TopicPartition.Partition, record.TopicPartition.Offset}] = true
	if len(e.refused) < hopeless {
		return nil
	}
	return fmt.Errorf("jaeger at %s has refused everything so far: %w", e.url, reason)
}

// explain says for people why a post failed.
func (e *endpoint) explain(err error) error {
	if answer := (*collector.Refusal)(nil); errors.As(err, &answer) {
		return answer
	}
	if inner := (*url.Error)(nil); errors.As(err, &inner) {
		err = inner.Err // without what net/http says around it: method and address
	}
	return fmt.Errorf("jaeger at %s cannot be reached: %w", e.url, err)
}

func unknownHost(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}
