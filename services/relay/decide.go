package main

import (
	"errors"
	"net/http"

	"fault-tolerant-tracing/services/internal/collector"
	"fault-tolerant-tracing/services/internal/consume"
	"fault-tolerant-tracing/tracing/batch"
)

// maxTries is how often a batch that Jaeger answers with 500 is tried, others
// going through between the tries, before it is set aside.
const maxTries = 20

// decision is what becomes of a batch that was not taken.
type decision int

const (
	retry         decision = iota // temporary: hold and try again
	suspect                       // the same, but the fault may lie in this batch
	misconfigured                 // hold; a person must act
	split                         // too large: try its halves
	giveUp                        // it can never be delivered
)

// decide says what becomes of a batch for which the post returned err. This is
// the decision table of docs/architecture.md. isolated is that of
// [consume.Record].
func decide(err error, value []byte, isolated int) decision {
	var answer *collector.Refusal
	if !errors.As(err, &answer) {
		return retry
	}
	switch status := answer.Status; {
	case status == http.StatusBadRequest:
		if _, malformed := batch.Decode(value); malformed != nil || isolated > 0 {
			return giveUp
		}
		return suspect
	case status == http.StatusRequestEntityTooLarge:
		if f, malformed := batch.Parse(value); malformed != nil || f.Spans() < 2 {
			return giveUp
		}
		return split
	case status == http.StatusInternalServerError:
		if isolated >= maxTries-1 {
			return giveUp
		}
		return suspect
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status > 500:
		return retry
	}
	return misconfigured
}

// verdict is the error for the consumer that carries out a decision.
func verdict(d decision, err error) error {
	if d == giveUp {
		return consume.Permanent(err)
	}
	var answer *collector.Refusal
	refused := errors.As(err, &answer)
	if d == suspect {
		err = consume.Suspect(err)
	}
	if refused {
		err = consume.RetryAfter(err, answer.After)
	}
	return err
}
