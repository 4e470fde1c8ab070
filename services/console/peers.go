package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"fault-tolerant-tracing/services/internal/consume"
	"fault-tolerant-tracing/services/internal/ledger"
)

// peers are the programs that are asked by HTTP.
type peers struct {
	client http.Client
	relay  url.URL
	random url.URL
}

// askRelay returns what the relay does, and how many spans its clients have lost.
func (p *peers) askRelay(ctx context.Context) (s relayState, lost int64) {
	var status struct {
		consume.Status
		Ledger ledger.Status `json:"ledger"`
	}
	if err := p.get(ctx, p.relay, "/status", &status); err != nil {
		return relayState{peer: peerOf(err)}, 0
	}
	return relayState{
		peer: peer{Up: true}, State: status.State, Since: status.Since, LastError: status.LastError, Oldest: status.Oldest,
	}, status.Ledger.SpansDropped.Total()
}

func (p *peers) askRandom(ctx context.Context) error { return p.get(ctx, p.random, "/healthz", nil) }

// get decodes the answer into answer, unless that is nil.
func (p *peers) get(ctx context.Context, base url.URL, path string, answer any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath(path).String(), nil)
	if err != nil {
		return err
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return fmt.Errorf("%s does not answer", base.Host)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", base.Host, resp.Status)
	}
	if answer == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		return fmt.Errorf("%s gives no answer that can be read: %w", base.Host, err)
	}
	return nil
}
