package replay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"fault-tolerant-tracing/services/internal/collector"
	"fault-tolerant-tracing/tracing/batch"
)

const (
	// connections is how many posts are on their way at once. Jaeger carries more
	// over 16 connections than over 4.
	connections = 16

	// maxTries is how often a batch is tried to which Jaeger answers 500, which it
	// does for its own troubles and for a batch that it cannot store. The waits
	// between add up to about 6 seconds.
	maxTries = 10

	firstWait  = 50 * time.Millisecond
	longestGap = time.Second
	longestAsk = 30 * time.Second // of what a Retry-After may ask for

	// reachable is how long a Jaeger may stay away that has never answered: its
	// address is more likely to be wrong.
	reachable = 10 * time.Second
)

// Sender sends batches to Jaeger, each until it is taken or refused for good. It
// is safe for several goroutines, of which 16 post at the same time.
type Sender struct {
	jaeger   *collector.Collector
	waiting  func(reason error)
	slots    chan struct{}
	answered atomic.Bool  // Jaeger has answered something
	taken    atomic.Int64 // posts
	alone    atomic.Bool
}

// NewSender makes a sender to the collector at endpoint. waiting is told why,
// each time that a batch has to be tried again; it must not block.
func NewSender(endpoint url.URL, waiting func(reason error)) *Sender {
	return &Sender{
		jaeger: collector.New(endpoint, connections), waiting: waiting,
		slots: make(chan struct{}, connections),
	}
}

// Close closes the connections.
func (s *Sender) Close() { s.jaeger.Close() }

// URL is where the batches go, to be shown.
func (s *Sender) URL() string { return s.jaeger.URL() }

// Alone tells that nothing else is sent but the batches that are on their way,
// one after the other or the last ones. Then 500 is believed after 10 tries; until
// then only if others were taken in between.
func (s *Sender) Alone() { s.alone.Store(true) }

// Refused is a batch, or a part of one, that Jaeger will never take.
type Refused struct {
	Value  []byte
	Spans  int // 0: it is no batch
	Reason *collector.Refusal
}

// Send sends a batch. It blocks until Jaeger has taken or refused it for good; if
// it is too large, its halves. Jaeger's absence is waited out. The error is that
// of ctx, or a sentence that says why nothing can be sent there: no Jaeger answers
// within the first 10 seconds, or something else does.
func (s *Sender) Send(ctx context.Context, value []byte) ([]Refused, error) {
	err := s.post(ctx, value, maxTries)
	var refusal *collector.Refusal
	if !errors.As(err, &refusal) {
		return nil, err
	}
	frame, malformed := batch.Parse(value)
	if refusal.Status == http.StatusRequestEntityTooLarge && malformed == nil && frame.Spans() > 1 {
		return s.sendHalves(ctx, frame)
	}
	return []Refused{{value, frame.Spans(), refusal}}, nil
}

func (s *Sender) sendHalves(ctx context.Context, frame batch.Frame) ([]Refused, error) {
	half := frame.Spans() / 2
	first, second := frame.Slice(0, half), frame.Slice(half, frame.Spans())
	refused, err := s.Send(ctx, first)
	if err != nil {
		return nil, err
	}
	more, err := s.Send(ctx, second)
	return append(refused, more...), err
}

// post sends a batch until it is taken, which is nil. A *collector.Refusal says
// that it never will be; 500 counts as that after so many tries.
func (s *Sender) post(ctx context.Context, value []byte, tries int) error {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval, wait.Multiplier = firstWait, longestGap, 2
	begin, before := time.Now(), s.taken.Load()
	for failures := 0; ; {
		err := s.postOnce(ctx, value)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err() // whatever the answer was, it is not the last word
		}
		gap := wait.NextBackOff()
		var refusal *collector.Refusal
		if errors.As(err, &refusal) {
			if refusal.Status == http.StatusInternalServerError {
				failures++
			}
			believed := failures >= tries && (tries == 1 || s.alone.Load() || s.taken.Load() > before)
			if final := s.judge(refusal, believed); final != nil {
				return final
			}
			gap = max(gap, min(refusal.After, longestAsk))
		} else {
			err = fmt.Errorf("jaeger at %s cannot be reached: %w", s.URL(), cause(err))
			if s.neverThere(err, time.Since(begin)) {
				return err
			}
		}
		s.waiting(err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(gap):
		}
	}
}

func (s *Sender) postOnce(ctx context.Context, value []byte) error {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.slots }()
	err := s.jaeger.Post(ctx, value)
	var refusal *collector.Refusal
	if err == nil || errors.As(err, &refusal) {
		s.answered.Store(true)
	}
	if err == nil {
		s.taken.Add(1)
	}
	return err
}

// judge returns nil if the batch is to be tried again. Otherwise the answer is the
// last one: it refuses this batch, or all, as this is no collector. believed says
// whether 500 refuses this batch.
func (s *Sender) judge(answer *collector.Refusal, believed bool) error {
	switch status := answer.Status; {
	case status == http.StatusBadRequest, status == http.StatusRequestEntityTooLarge,
		status == http.StatusInternalServerError && believed:
		return answer
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status >= 500:
		return nil
	}
	return wrongEndpoint{s.URL(), answer.Error()}
}

// wrongEndpoint is not a refusal, although it comes from one.
type wrongEndpoint struct{ url, answer string }

func (w wrongEndpoint) Error() string {
	return fmt.Sprintf("%s is not Jaeger's collector, such as http://localhost:14268/api/traces: %s", w.url, w.answer)
}

// neverThere tells whether it is time to give up a Jaeger that has not answered
// once, after so long.
func (s *Sender) neverThere(reason error, waited time.Duration) bool {
	var dns *net.DNSError
	unknown := errors.As(reason, &dns) && dns.IsNotFound
	return !s.answered.Load() && (unknown || waited >= reachable)
}

// cause leaves out what net/http says around it: method and address.
func cause(err error) error {
	var inner *url.Error
	if errors.As(err, &inner) {
		return inner.Err
	}
	return err
}
