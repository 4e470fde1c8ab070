package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"fault-tolerant-tracing/services/internal/control"
)

const actTimeout = 30 * time.Second

// remote is the way to a running demo; nil: there is none.
type remote struct{ *control.Client }

func newRemote(socket string) *remote {
	if socket == "" {
		return nil
	}
	return &remote{control.NewClient(socket)}
}

// about returns what the demo tells of itself; nil: there is none.
func (r *remote) about(ctx context.Context) *control.Status {
	if r == nil {
		return nil
	}
	answer, err := r.Ask(ctx, http.MethodGet, "/")
	status := new(control.Status)
	if err != nil || json.Unmarshal(answer, status) != nil {
		return nil
	}
	return status
}

// do has the demo do something. Its error is a sentence for the person who asked for it.
func (r *remote) do(ctx context.Context, path string) error {
	if r == nil {
		return errors.New("no demo is there that could do it")
	}
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	_, err := r.Ask(ctx, http.MethodPost, path)
	return err
}
