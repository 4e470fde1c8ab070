package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	relayGroup = "tracing-relay"
	deadLetter = "tracing-dlq"

	profileSeconds = 5
)

// relay is a running relay.
type relay struct {
	*child
	addr string // HTTP
}

// startRelay starts a relay and does not wait until it reads.
func (b *bench) startRelay(by program, topic, deadLetters string, to urls) (*relay, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	c, err := startChild("relay", b.work, []string{
		"KAFKA_BROKERS=" + b.kafka.addr, "TRACING_TOPIC=" + topic, "TRACING_DLQ=" + deadLetters,
		"JAEGER_ENDPOINT=" + to.thrift, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=" + to.otlp, "HTTP_ADDR=" + addr,
	}, nil, by.path)
	if err != nil {
		return nil, err
	}
	return &relay{child: c, addr: addr}, nil
}

// relayStatus is what is used of GET /status.
type relayStatus struct {
	State     string `json:"state"`
	SpansSent int    `json:"spans_sent"` // answered with 2xx
}

// status asks the relay; while it waits for Kafka it has sent nothing.
func (r *relay) status(ctx context.Context) (s relayStatus, err error) {
	answer, err := get(ctx, "http://"+r.addr+"/status")
	if e := (*statusError)(nil); errors.As(err, &e) && e.status == http.StatusServiceUnavailable {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(answer, &s); err != nil {
		return s, fmt.Errorf("ask the relay: %w", err)
	}
	return s, nil
}

// sent returns how many spans were answered with 2xx.
func (r *relay) sent(ctx context.Context) (int, error) {
	s, err := r.status(ctx)
	return s.SpansSent, err
}

// hasSent returns an error until so many were.
func (r *relay) hasSent(ctx context.Context, spans int) error {
	n, err := r.sent(ctx)
	if err == nil && n < spans {
		err = fmt.Errorf("%d of %d spans are sent", n, spans)
	}
	return err
}

// is returns an error until the relay is in that state.
func (r *relay) is(ctx context.Context, state string) error {
	s, err := r.status(ctx)
	if err == nil && s.State != state {
		err = fmt.Errorf("it is %s", s.State)
	}
	return err
}

// ready returns an error until the relay has joined its group.
func (r *relay) ready(ctx context.Context) error {
	_, err := get(ctx, "http://"+r.addr+"/readyz")
	return err
}

func (r *relay) listens(ctx context.Context) error { return dial(ctx, r.addr) }

// relays measures how fast so many relays carry a backlog to what start starts.
func (b *bench) relays(ctx context.Context, by program, n int, from backlog, start func(context.Context) (*target, error)) (result, error) {
	if err := b.kafka.forget(ctx, relayGroup); err != nil {
		return result{}, err
	}
	to, err := start(ctx)
	if err != nil {
		return result{}, err
	}
	defer to.stop()
	var running []*relay
	defer func() {
		for _, r := range running {
			r.stop()
		}
	}()
	measured := parts{collector: to.child, kafka: b.kafka.child}
	for range n {
		r, err := b.startRelay(by, from.topic, deadLetter, to.urls)
		if err != nil {
			return result{}, err
		}
		running, measured.senders = append(running, r), append(measured.senders, r.child)
	}
	for _, r := range running {
		if err := r.await(ctx, r.listens); err != nil {
			return result{}, err
		}
	}
	sent := func(ctx context.Context) (all int, err error) {
		for _, r := range running {
			spans, err := r.sent(ctx)
			if err != nil {
				return 0, err
			}
			all += spans
		}
		return all, nil
	}
	var profile errgroup.Group
	res, err := measured.watch(ctx, from.total(), sent, func() {
		profile.Go(func() error { return b.saveProfile(ctx, fmt.Sprintf("relay-%s-%d", from.topic, n), running[0].addr) })
		profile.Go(func() error { return b.saveProfile(ctx, fmt.Sprintf("relay-%s-%d-jaeger", from.topic, n), to.pprof) })
	})
	if err := errors.Join(err, profile.Wait()); err != nil {
		return result{}, err
	}
	for _, r := range running {
		res.peak = max(res.peak, r.peak())
	}
	return res, b.account(ctx, running, from, to, sent)
}

// account stops the relays and fails if a span that counts as sent was not
// taken, or if a backlog that was carried to its end is not committed to its
// end.
func (b *bench) account(ctx context.Context, running []*relay, from backlog, to *target, sent func(context.Context) (int, error)) error {
	claimed, err := sent(ctx)
	if err != nil {
		return err
	}
	taken, err := to.stored(ctx)
	if err != nil {
		return err
	}
	if taken < claimed {
		return fmt.Errorf("the relay says that %d spans were taken, and there are only %d", claimed, taken)
	}
	for _, r := range running {
		r.stop()
	}
	if claimed < from.total() {
		return nil
	}
	left, err := b.kafka.uncommitted(ctx, relayGroup, from.topic)
	if err == nil && left > 0 {
		err = fmt.Errorf("all was taken, and %d records are not committed", left)
	}
	return err
}

// saveProfile writes a CPU profile of a process that serves it at an address, if
// there is one and profiles are wanted.
func (b *bench) saveProfile(ctx context.Context, name, addr string) error {
	if b.profiles == "" || addr == "" {
		return nil
	}
	profile, err := get(ctx, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", addr, profileSeconds))
	if err != nil {
		return fmt.Errorf("profile for %s: %w", name, err)
	}
	return os.WriteFile(filepath.Join(b.profiles, name+time.Now().Format("-150405")+".pprof"), profile, 0o644)
}
